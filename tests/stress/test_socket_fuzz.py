"""Arbitrary input at the hub's socket is answered or dropped; the hub never dies and still answers other clients."""

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, get_args

import msgspec
import pytest

from llmctl import wire
from tests.e2e.dealer import Dealer
from tests.e2e.house import PATIENCE_S, House, until
from tests.e2e.house import house as a_house
from tests.stress.scale import count, seeded

ROUNDS = 4000


@pytest.fixture(scope="module")
def victim() -> Iterator[House]:
    with a_house() as made:
        yield made.echo()


def answers(victim: House) -> None:
    """The hub still answers."""
    with Dealer(victim.socket) as dealer:
        reply = dealer.ask(wire.Generate(prompt="alive", model="echo", cache="skip"))
    assert isinstance(reply, wire.Done)
    assert isinstance(reply.result, wire.Answer)
    assert reply.result.text == "alive"


def noise(dice: random.Random, most: int = 200) -> bytes:
    return dice.randbytes(dice.randrange(most))


def valid(dice: random.Random) -> bytes:
    request = dice.choice(
        [
            wire.Generate(prompt="hi", model="echo", protocol=wire.PROTOCOL),
            wire.Status(protocol=wire.PROTOCOL),
            wire.Ps(protocol=wire.PROTOCOL),
            wire.GetCacheStats(protocol=wire.PROTOCOL),
            wire.Ack(count=dice.randrange(-5, 2**40), protocol=wire.PROTOCOL),
            wire.Cancel(protocol=wire.PROTOCOL),
            wire.Undo(conversation="none", protocol=wire.PROTOCOL),
        ]
    )
    return wire.encode(request)


def mutated(dice: random.Random) -> bytes:
    """A valid body with bytes changed, inserted or removed."""
    body = bytearray(valid(dice))
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


def strange(dice: random.Random) -> bytes:
    """A well-formed map whose values have any type and size."""
    values: list[Any] = [
        None,
        True,
        -1,
        2**63,
        1e308,
        float("nan"),
        "",
        "x" * 5000,
        [],
        [[[]]],
        {"a": {}},
        b"\x00\xff",
        ["hi"] * 50,
    ]
    fields = [*wire.Generate.__struct_fields__, "type", "protocol", "unknown", ""]
    body: dict[str, Any] = {dice.choice(fields): dice.choice(values) for _ in range(dice.randrange(8))}
    tags: list[Any] = [kind.__struct_config__.tag for kind in get_args(wire.AnyRequest)]
    tags += ["", "Generate", 7, None]
    body |= {
        "type": dice.choice([tag for tag in tags if tag != "stop"]),
        "protocol": dice.choice([wire.PROTOCOL, 0, -1, "1"]),
    }
    return msgspec.msgpack.encode(body)


def truncated(dice: random.Random) -> bytes:
    body = valid(dice)
    return body[: dice.randrange(len(body))]


BODIES: list[Callable[[random.Random], bytes]] = [noise, mutated, strange, truncated, valid]


def frames(dice: random.Random) -> list[bytes]:
    """Mostly an id and a body; sometimes too few, too many or empty ones."""
    identity = dice.randbytes(wire.ID_BYTES) if dice.random() < 0.8 else noise(dice, 40)
    body = dice.choice(BODIES)(dice)
    match dice.randrange(12):
        case 0:
            return [body]
        case 1:
            return [identity, body, *(noise(dice) for _ in range(dice.randrange(1, 9)))]
        case 2:
            return [b"", identity, body]
        case 3:
            return [identity]
        case 4:
            return [b""]
        case _:
            return [identity, body]


def stops_the_hub(sent: list[bytes]) -> bool:
    """A valid Stop that chance generates would be obeyed, so it is left out."""
    try:
        return any(isinstance(wire.decode_request(frame), wire.Stop) for frame in sent)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def test_the_hub_still_answers_after_arbitrary_frames(victim: House) -> None:
    dice, pid = seeded(), victim.hub().pid
    replies = 0
    with Dealer(victim.socket) as dealer:
        for number in range(count(ROUNDS)):
            sent = frames(dice)
            if not stops_the_hub(sent):
                dealer.send_frames(*sent)
            replies += dealer.drain()
            if number % 100 == 99:
                answers(victim)
        replies += dealer.replies_before(dealer.send(wire.Status()))
    answers(victim)
    assert replies > 0
    assert victim.hub().pid == pid


def test_an_undecodable_body_gets_an_error_reply(victim: House) -> None:
    """The id is outside the body, so even an undecodable body gets its reply."""
    dice = seeded()
    with Dealer(victim.socket) as dealer:
        for _ in range(count(1000)):
            identity = dice.randbytes(wire.ID_BYTES)
            dealer.send_frames(identity, b"\xc1" + noise(dice))
            reply = dealer.receive(identity)
            assert isinstance(reply, wire.Failed)
            assert reply.code in {"invalid_request", "unreachable"}
            assert reply.message


def test_another_protocol_version_is_refused_by_number(victim: House) -> None:
    with Dealer(victim.socket) as dealer:
        reply = dealer.ask(wire.Ps(protocol=wire.PROTOCOL + 1))
        assert isinstance(reply, wire.Failed)
        assert reply.code == "unreachable"
        assert str(wire.PROTOCOL) in reply.message
        assert str(wire.PROTOCOL + 1) in reply.message
        known = dealer.ask(wire.Status(protocol=wire.PROTOCOL + 1))
        assert isinstance(known, wire.Done), "so that an old hub can be asked whether it is idle"


def test_an_oversized_frame_is_refused_without_being_decoded(victim: House) -> None:
    before = victim.hub().memory_info().rss
    with Dealer(victim.socket) as dealer:
        dealer.send_frames(b"large" * 3 + b"!", bytes(wire.MAX_BODY_BYTES + 1))
        dealer.await_hang_up()
    answers(victim)
    assert victim.hub().memory_info().rss < before + 2 * wire.MAX_BODY_BYTES


def test_bytes_that_are_not_zeromq_are_dropped(victim: House) -> None:
    dice = seeded()
    for _ in range(count(400)):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(str(victim.socket))
        raw.settimeout(PATIENCE_S)
        with suppress(OSError):  # the hub may have hung up already
            raw.sendall(noise(dice, 3000))
        raw.close()
    answers(victim)


def test_clients_that_disconnect_midway_leave_nothing_running(victim: House) -> None:
    dice = seeded()
    for _ in range(count(400)):
        with Dealer(victim.socket) as dealer:
            for _ in range(dice.randrange(1, 4)):
                dealer.send(wire.Generate(prompt="x" * dice.randrange(500), model="echo", stream=True, cache="skip"))
    answers(victim)
    with Dealer(victim.socket) as dealer:
        until(lambda: dealer.in_flight() == 0, what="the end of the requests of clients that are gone")


def test_the_same_id_twice_is_answered_twice_or_refused(victim: House) -> None:
    with Dealer(victim.socket) as dealer:
        identity = b"0123456789abcdef"
        for _ in range(2):
            dealer.send(wire.Generate(prompt="twice", model="echo", cache="skip"), identity)
        assert isinstance(dealer.replies(identity)[-1], wire.Done)
    answers(victim)
