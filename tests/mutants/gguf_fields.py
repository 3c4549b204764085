"""A GGUF file as the list of its fields, so that any one of them can be changed and the rest stays as it was.

It knows the format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), and nothing of who reads such files.
"""

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STRING, ARRAY = 8, 9
SIZES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
NUMBERS = (0, 1, 2, 255, 513, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS = (
    b"", b"\0", b"\xff\xfe", b"<0x-1>", b"<0xZZ>", b"<0x00>", b"<unk>", b"</s>", b"a", b"\xe2\x96\x81", b"x" * 70_000,
    b"\xed\xa0\x80",
    b"blk.0.attn_q.weight", b"token_embd.weight", b"general.architecture", b"tokenizer.ggml.tokens", b"..", b"/etc/passwd",
    b"%s%n",
)  # fmt: skip
OF_KEYS: dict[str, Sequence[bytes | int | float]] = {
    "general.architecture": (
        b"llama", b"mamba", b"plamo2", b"gemma2", b"bert", b"t5", b"qwen2", b"phi3", b"gpt2", b"rwkv6", b"clip", b"deepseek2",
        b"gemma3n",
        b"falcon", b"starcoder", b"nomic-bert", b"jamba", b"none", b"", b"wavtokenizer-dec",
    ),
    "tokenizer.ggml.model": (b"llama", b"gpt2", b"bert", b"t5", b"rwkv", b"plamo2", b"none", b"no_vocab", b""),
    "general.alignment": (0, 1, 3, 7, 33, 2**31, 2**32 - 1),
    "tokenizer.chat_template": (
        b"{{ 1/0 }}", b"{% for", b"{{ messages[9].x }}", b"{% for a in range(10**9) %}x{% endfor %}",
        b"{{ raise_exception('no') }}", b"\xff",
        b"", b"(" * 5000, b"{{ '" + b"(" * 5000 + b"' }}", b"{{ namespace().__class__.__mro__ }}",
    ),
}  # fmt: skip
"""Key -> values that a file of another origin might have there."""


@dataclass
class Field:
    """`kind`: what the bytes are; `of`: the key or tensor they belong to; `letter`: the format of a number."""

    kind: str
    data: bytes
    of: str = ""
    letter: str = ""


class Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self.fields: list[Field] = []
        self._alignment = 32

    def all(self) -> list[Field]:
        self._take("magic", 4)
        self._number("version", "I")
        tensors, pairs = self._number("count", "Q"), self._number("count", "Q")
        for _ in range(pairs):
            key = self._text("key")
            self._value(self._number("type", "I", key), key)
        for _ in range(tensors):
            name = self._text("name")
            for _ in range(self._number("dims", "I", name)):
                self._number("dim", "Q", name)
            self._number("tensor type", "I", name)
            self._number("offset", "Q", name)
        self._take("padding", -self._at % self._alignment)
        self._take("data", len(self._data) - self._at)
        return self.fields

    def _take(self, kind: str, size: int, of: str = "", letter: str = "") -> bytes:
        data = self._data[self._at : self._at + size]
        self._at += size
        self.fields.append(Field(kind, data, of, letter))
        return data

    def _number(self, kind: str, letter: str, of: str = "") -> int:
        (found,) = struct.unpack("<" + letter, self._take(kind, struct.calcsize("<" + letter), of, letter))
        return int(found) if letter not in "fd" or found == found else 0

    def _text(self, kind: str, of: str = "") -> str:
        size = self._number("length", "Q", of)
        return self._take(kind, size, of).decode("utf-8", "replace")

    def _value(self, kind: int, key: str) -> None:
        if kind == STRING:
            self._text("text", key)
        elif kind == ARRAY:
            inner, items = self._number("item type", "I", key), self._number("items", "Q", key)
            for _ in range(items):
                if inner == STRING:
                    self._text("item text", key)
                else:
                    self._number("item", SIZES[inner], key)
        else:
            self._number("value", SIZES[kind], key)


def joined(fields: Sequence[Field]) -> bytes:
    """The file, with the tensors where they belong even if what stands before them has another size."""
    whole = bytearray()
    for field in fields:
        whole += bytes(-len(whole) % 32) if field.kind == "padding" else field.data
    return bytes(whole)


# ---- changes ----------------------------------------------------------------------------------------------------------

Change = Callable[[random.Random, list[Field]], str]


def packed(letter: str, value: float) -> bytes:
    if letter in "fd":
        return struct.pack("<" + letter, float(value))
    size = struct.calcsize("<" + letter)
    whole: int = int(value) % 2 ** (8 * size)
    return whole.to_bytes(size, "little")


def number(dice: random.Random, fields: list[Field]) -> str:
    """A count, length, dimension, offset, type or value of another size."""
    kind = dice.choice(
        (
            "count",
            "length",
            "length",
            "items",
            "dims",
            "dim",
            "dim",
            "offset",
            "offset",
            "value",
            "value",
            "value",
            "version",
            "item",
        )
    )
    field = dice.choice([field for field in fields if field.kind == kind] or [fields[2]])
    if field.letter in "fd":
        field.data = packed(field.letter, dice.choice((float("nan"), float("inf"), -1.0, 0.0, 1e30)))
        return f"{kind} of {field.of}"
    was = int.from_bytes(field.data, "little")
    value = dice.choice((*NUMBERS, was + 1, max(0, was - 1), was * 2, was + 32, was // 2))
    field.data = packed(field.letter or "I", value)
    return f"{kind} of {field.of}: {was} -> {value}"


def kind_of(dice: random.Random, fields: list[Field]) -> str:
    kind = dice.choice(("type", "item type", "tensor type"))
    field = dice.choice([field for field in fields if field.kind == kind] or [fields[1]])
    value = dice.choice((*range(14), 30, 39, 40, 99, 2**31, 2**32 - 1))
    field.data = packed("I", value)
    return f"{kind} of {field.of}: {value}"


def text(dice: random.Random, fields: list[Field]) -> str:
    """A key, name, text or token, with its right length."""
    kind = dice.choice(("key", "name", "name", "text", "item text", "item text"))
    places = [at for at, field in enumerate(fields) if field.kind == kind]
    if not places:
        return ""
    at = dice.choice(places)
    others = [fields[other].data for other in places]
    return written(fields, at, dice.choice((*TEXTS, *dice.choices(others, k=6))))


def written(fields: list[Field], at: int, value: bytes) -> str:
    fields[at - 1].data = packed("Q", len(value))
    fields[at].data = value
    return f"{fields[at].kind} of {fields[at].of}: {value[:30]!r}"


def told(dice: random.Random, fields: list[Field]) -> str:
    """A value that decides how the file is read."""
    key = dice.choice(list(OF_KEYS))
    places = [at for at, field in enumerate(fields) if field.of == key and field.kind in ("text", "value")]
    value = dice.choice(OF_KEYS[key])
    if not places:
        return added(dice, fields, key, value)
    if isinstance(value, bytes):
        return written(fields, places[0], value)
    fields[places[0]].data = packed(fields[places[0]].letter or "I", value)
    return f"{key}: {value}"


def added(dice: random.Random, fields: list[Field], key: str, value: bytes | float) -> str:
    """One more pair of key and value, first in the file."""
    name = key.encode()
    pair = [Field("length", packed("Q", len(name))), Field("key", name)]
    if isinstance(value, bytes):
        pair += [
            Field("type", packed("I", STRING)),
            Field("length", packed("Q", len(value))),
            Field("text", value, key),
        ]
    else:
        pair += [Field("type", packed("I", 4)), Field("value", packed("I", value), key, "I")]
    fields[3].data = packed("Q", int.from_bytes(fields[3].data, "little") + 1)
    fields[4:4] = pair
    return f"added {key}: {value!r}"[:80]


def lost(dice: random.Random, fields: list[Field]) -> str:
    """A pair of key and value that is missing, with the right count; or twice."""
    starts = [at - 1 for at, field in enumerate(fields) if field.kind == "key"]
    ends = [*starts[1:], next((at - 1 for at, field in enumerate(fields) if field.kind == "name"), len(fields))]
    which = dice.randrange(len(starts))
    key = fields[starts[which] + 1].data
    part = fields[starts[which] : ends[which]]
    count = int.from_bytes(fields[3].data, "little")
    if dice.random() < 0.7:
        fields[3].data = packed("Q", count - 1)
        del fields[starts[which] : ends[which]]
        return f"without {key!r}"
    fields[3].data = packed("Q", count + 1)
    fields[starts[which] : starts[which]] = [Field(field.kind, field.data, field.of, field.letter) for field in part]
    return f"twice {key!r}"


def narrower(dice: random.Random, fields: list[Field]) -> str:
    """An array of another type of item with the same count and right bytes."""
    at = dice.choice([at for at, field in enumerate(fields) if field.kind == "item type"] or [0])
    if not at:
        return ""
    count = int.from_bytes(fields[at + 1].data, "little")
    end = at + 2
    while (end < len(fields) and fields[end].kind in ("item", "item text")) or (
        fields[end].kind == "length" and fields[end].of == fields[at].of
    ):
        end += 1
    kind = dice.choice(list(SIZES))
    fields[at].data = packed("I", kind)
    fields[at + 2 : end] = [Field("items", bytes(count * struct.calcsize("<" + SIZES[kind])), fields[at].of)]
    return f"items of {fields[at].of} of type {kind}"


def weights(dice: random.Random, fields: list[Field]) -> str:
    field = fields[-1]
    fill = dice.choice((b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\0\0\0\0", b"\xff\xff\xff\xff"))
    at, size = 4 * dice.randrange(1 + len(field.data) // 4), 4 * dice.choice((1, 64, 10_000, 10_000_000))
    size = min(size, len(field.data) - at)
    field.data = field.data[:at] + (fill * (1 + size // 4))[:size] + field.data[at + size :]
    return f"weights {fill!r} x {size // 4}"


CHANGES: Sequence[tuple[int, Change]] = (
    (8, number),
    (3, kind_of),
    (3, text),
    (3, told),
    (2, lost),
    (2, narrower),
    (1, weights),
)


def mutant(dice: random.Random, data: bytes) -> tuple[str, bytes]:
    """The file with one to three changes, sometimes cut; and what was changed."""
    fields = Reader(data).all()
    names = []
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        (change,) = dice.choices([each for _, each in CHANGES], [weight for weight, _ in CHANGES])
        names.append(f"{change.__name__}: {change(dice, fields)}")
    if dice.random() < 0.15:
        del fields[dice.randrange(1, len(fields)) :]
        names.append("cut")
    whole = joined(fields)
    if dice.random() < 0.05:
        whole = whole[: dice.randrange(len(whole))]
        names.append("cut within")
    return "; ".join(names), whole
