"""Malformed messages for the hub's socket: mutations of good ones of every kind, and bytes that never were one.

It sends nothing. What still decodes is a request like any other: `is_harmless` says which of those may be sent by chance.
"""

import random
from collections.abc import Callable
from typing import Any, get_args

import msgspec

from llmctl import wire
from tests.messages import EXAMPLES

REQUESTS = [
    each for each in EXAMPLES if isinstance(each, wire.Request) and not isinstance(each, wire.Stop | wire.PullModel)
]
GOOD = [wire.encode(each) for each in REQUESTS]
TAGS = [str(kind.__struct_config__.tag) for kind in get_args(wire.AnyRequest)]
FIELDS = sorted({field for each in REQUESTS for field in each.__struct_fields__})
STARTS_A_PROCESS = (
    wire.PullModel, wire.DescribeFiles, wire.EstimateModel, wire.Embed, wire.LoadModel, wire.AddModel, wire.Warm,
)  # fmt: skip
ODD: list[Any] = [
    None, True, -1, 2**63, -(2**63), 2**64 - 1, 1e308, -0.0, float("nan"), float("inf"), "", "\0", "x" * 5000, "\u202e",
    [], [[[]]], {}, {"a": {}}, b"\x00\xff", ["hi"] * 50, [None] * 20,
    msgspec.msgpack.Ext(1, b"9" * 400), msgspec.msgpack.Ext(-1, b""),
]  # fmt: skip


def noise(dice: random.Random, most: int = 200) -> bytes:
    return dice.randbytes(dice.randrange(most))


def good(dice: random.Random) -> bytes:
    return dice.choice(GOOD)


def mutated(dice: random.Random) -> bytes:
    return mutation(good(dice), dice)


def mutation(of: bytes, dice: random.Random) -> bytes:
    """The bytes with some changed, inserted or removed."""
    body = bytearray(of)
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(body))
        match dice.randrange(3):
            case 0:
                body[at] = dice.randrange(256)
            case 1:
                body[at:at] = noise(dice, 8)
            case _:
                del body[at : at + dice.randrange(1, 4)]
        if not body:
            break
    return bytes(body)


def spliced(dice: random.Random) -> bytes:
    """The beginning of one good body and the end of another."""
    first, second = good(dice), good(dice)
    return first[: dice.randrange(len(first))] + second[dice.randrange(len(second)) :]


def strange(dice: random.Random) -> bytes:
    """A well-formed map whose values have any type and size."""
    body: dict[Any, Any] = {dice.choice(FIELDS): dice.choice(ODD) for _ in range(dice.randrange(8))}
    tags: list[Any] = [*TAGS, "", "Generate", 7, None, []]
    body |= {"type": dice.choice(tags), "protocol": dice.choice([wire.PROTOCOL, wire.PROTOCOL, 0, -1, "1", 2**63])}
    if dice.random() < 0.1:
        body[dice.choice([7, None, b"x", 1.5])] = dice.choice(ODD)
    return msgspec.msgpack.encode(body)


def truncated(dice: random.Random) -> bytes:
    body = good(dice)
    return body[: dice.randrange(len(body))]


def deep(dice: random.Random) -> bytes:
    """Arrays or maps within each other, far deeper than a decoder recurses."""
    level = dice.choice([b"\x91", b"\x81\xa1a", b"\xdc\x00\x01", b"\xc7\x01\x01"])
    inside = level * dice.choice([50, 1000, 20_000])
    where = dice.choice(
        [b"", b"\x81\xa4type", b"\x82\xa4type\xa8generate\xa6params", b"\x82\xa4type\xa8generate\xa5tools"]
    )
    return where + inside + b"\xc0"


def lying(dice: random.Random) -> bytes:
    """A header that announces up to 4 GiB of text, bytes, items or fields, and little behind it."""
    kind = dice.choice([b"\xdb", b"\xc6", b"\xdd", b"\xdf", b"\xc9"])
    return kind + dice.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x10\x00\x00"]) + noise(dice)


def large(dice: random.Random) -> bytes:
    """A megabyte of little sense: decoded whole, or refused early."""
    match dice.randrange(3):
        case 0:
            return dice.randbytes(2**20)
        case 1:
            return msgspec.msgpack.encode({"type": "generate", "prompt": "x" * 2**20, "protocol": "1"})
        case _:
            return msgspec.msgpack.encode({"type": "generate", "tags": [""] * 200_000, "protocol": 1, "model": 5})


Body = Callable[[random.Random], bytes]
BODIES: list[Body] = [noise, mutated, mutated, spliced, strange, strange, truncated, lying, good]


def body(dice: random.Random) -> bytes:
    chance = dice.random()
    return (large if chance < 0.0002 else deep if chance < 0.01 else dice.choice(BODIES))(dice)


def frames(dice: random.Random) -> list[bytes]:
    """Mostly an id and a body; sometimes too few, too many or empty ones."""
    identity = dice.randbytes(wire.ID_BYTES) if dice.random() < 0.8 else noise(dice, 40)
    match dice.randrange(16):
        case 0:
            return [body(dice)]
        case 1:
            return [identity, body(dice), *(noise(dice) for _ in range(dice.randrange(1, 9)))]
        case 2:
            return [b"", identity, body(dice)]
        case 3:
            return [identity]
        case 4:
            return [b""]
        case 5 if dice.random() < 0.02:
            return [b""] * 1000
        case _:
            return [identity, body(dice)]


def is_harmless(sent: list[bytes]) -> bool:
    """False for what would stop the hub or start processes: chance makes good requests too, and those are not malformed."""
    return len(sent) != 2 or not isinstance(decoded(sent[1]), (wire.Stop, *STARTS_A_PROCESS))


def decoded(body: bytes) -> wire.AnyRequest | None:
    try:
        return wire.decode_request(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
