"""Patterns: a short notation for many texts, and one of them at random.

`(a|b)` is one of several, `[a]` is there or not, `<name>` is an entry of a word list. It knows the notation, not what is said.
"""

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache

MARKS = re.compile(r"[()\[\]|]|<[a-z_]+>")
SPACES = re.compile(r"\s+")

Part = str | tuple[str, tuple["Choice", ...]]
Choice = tuple[Part, ...]


@cache
def parse(text: str) -> Choice:
    """The parts of a pattern. Raises ValueError if brackets do not match."""
    pieces = [piece for piece in re.split(f"({MARKS.pattern})", text) if piece]
    parts, rest = _sequence(pieces, 0)
    if rest != len(pieces):
        raise ValueError(f"unmatched bracket in {text!r}")
    return parts


def one(text: str, words: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """One text of a pattern."""
    return SPACES.sub(" ", _say(parse(text), words, rng)).strip()


def _sequence(pieces: list[str], at: int) -> tuple[Choice, int]:
    parts: list[Part] = []
    while at < len(pieces) and pieces[at] not in ")]|":
        piece = pieces[at]
        if piece in ("(", "["):
            choices, at = _choices(pieces, at + 1, ")" if piece == "(" else "]")
            parts.append(("one", choices if piece == "(" else (*choices, ())))
        elif MARKS.fullmatch(piece):
            parts.append((piece[1:-1], ()))
            at += 1
        else:
            parts.append(piece)
            at += 1
    return tuple(parts), at


def _choices(pieces: list[str], at: int, end: str) -> tuple[tuple[Choice, ...], int]:
    found = []
    while True:
        parts, at = _sequence(pieces, at)
        found.append(parts)
        if at == len(pieces) or (pieces[at] != "|" and pieces[at] != end):
            raise ValueError(f"no {end} in {''.join(pieces)!r}")
        at += 1
        if pieces[at - 1] == end:
            return tuple(found), at


def _say(parts: Choice, words: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    said = []
    for part in parts:
        if isinstance(part, str):
            said.append(part)
        elif part[0] == "one":
            said.append(_say(rng.choice(part[1]), words, rng))
        else:
            said.append(_say(parse(rng.choice(words[part[0]])), words, rng))
    return "".join(said)
