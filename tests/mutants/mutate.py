"""Changes a good file into one that a user, an editor or a broken disk could have left: seeded, and the same for the same seed.

It knows bytes, lines and the tokens of a notation; not what a file means.
"""

import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

DEEP = (50, 1_000, 20_000)
"""Levels of nesting: legal, past Python's limit on recursion, far past it."""
LONG = (300, 70_000, 1_000_000)
"""Letters of a name or text: past a file name, past a pipe's buffer, past a cache."""
ODD_BYTES = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc3", b"\r", b"\x1b[2J", b"\xe2\x80\xae", b"\x85", b"\xe2\x80\xa8",
    b"\t",
    b"\x7f", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\n", b"'", b'"', b"\\", b"{", b"[", b"}", b"#", b":", b"=", b"&a ", b"*a ",
)  # fmt: skip
"""NUL, no UTF-8, a byte order mark, a surrogate, half a character, line ends of all kinds, and signs that begin something."""


class Notation(NamedTuple):
    """What stands in a file: a pattern of its tokens, and odd ones to put in their place."""

    tokens: re.Pattern[str]
    odd: Sequence[str]


Change = Callable[[random.Random, bytes, Notation], bytes]


def flipped(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def cut(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    return data[: dice.randrange(len(data))]


def beheaded(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    return data[dice.randrange(len(data)) :]


def inserted(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.choice(ODD_BYTES) * dice.choice((1, 1, 1, 3)) + data[at:]


def removed(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    at = dice.randrange(len(data))
    return data[:at] + data[at + dice.randrange(1, 9) :]


def line_twice(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    lines = data.splitlines(keepends=True)
    lines.insert(dice.randrange(len(lines) + 1), dice.choice(lines))
    return b"".join(lines)


def lines_swapped(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    lines = data.splitlines(keepends=True)
    one, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def line_lost(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    lines = data.splitlines(keepends=True)
    del lines[dice.randrange(len(lines))]
    return b"".join(lines)


def encoded(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    """As another editor saves it."""
    text = data.decode()
    return dice.choice(
        (
            text.replace("\n", "\r\n").encode(),
            text.replace("\n", "\r").encode(),
            text.encode("utf-8-sig"),
            text.encode("utf-16"),
            text.encode("utf-16-le"),
            text.encode("utf-16-be"),
            text.encode("utf-32"),
            ("é" + text).encode("latin-1", "replace"),
        )
    )


def token_replaced(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    """A key, a value or a sign becomes one of another type, or too long, or an odd one."""
    text = data.decode()
    found = list(notation.tokens.finditer(text))
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        at = dice.choice(found)
        if at.end() > len(text):
            break
        text = text[: at.start()] + odd(dice, notation) + text[at.end() :]
    return text.encode("utf-8", "surrogatepass")


def tokens_swapped(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    text = data.decode()
    one, other = sorted(dice.choices(list(notation.tokens.finditer(text)), k=2), key=re.Match.start)
    if one.end() > other.start():
        return data
    return (text[: one.start()] + other[0] + text[one.end() : other.start()] + one[0] + text[other.end() :]).encode()


def grown(dice: random.Random, data: bytes, notation: Notation) -> bytes:
    """A part of the file many times."""
    at = dice.randrange(len(data))
    part = data[at : at + dice.randrange(1, 40)]
    return data[:at] + part * dice.choice((10, 1_000, 20_000)) + data[at:]


def odd(dice: random.Random, notation: Notation) -> str:
    """One of the notation's odd tokens; `~DEEP~` and `~LONG~` in it are numbers of repeats."""
    word = dice.choice(notation.odd)
    if "~DEEP~" in word:
        before, after = word.split("~DEEP~")
        times = dice.choice(DEEP)
        return before * times + after * times
    if "~LONG~" in word:
        letter, rest = word.split("~LONG~")
        return letter + dice.choice(("x", "é", "9", " ")) * dice.choice(LONG) + rest
    return word


CHANGES: Sequence[tuple[int, Change]] = (
    (2, flipped), (1, cut), (1, beheaded), (2, inserted), (1, removed), (1, line_twice), (1, lines_swapped), (1, line_lost),
    (1, encoded), (8, token_replaced), (2, tokens_swapped), (1, grown),
)  # fmt: skip
"""(weight, change). Most mistakes of people are in single values."""


def mutant(dice: random.Random, examples: Sequence[bytes], notation: Notation) -> tuple[str, bytes]:
    """One of the examples with one or several changes, and the names of the changes."""
    data, names = dice.choice(examples), []
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        (change,) = dice.choices([each for _, each in CHANGES], [weight for weight, _ in CHANGES])
        try:
            data = change(dice, data, notation)
        except (UnicodeDecodeError, IndexError, ValueError):  # nothing is left to change, or no text
            break
        names.append(change.__name__)
    return " ".join(names), data
