"""Where a text may be cut: what `head`, `middle` and `tail` remove to keep a given number of characters.

It knows words, lines and characters, no tokens, so remote models use it too.
"""

import unicodedata
from collections.abc import Callable
from typing import NamedTuple

RUN = 100
"""Longest run without white space that counts as a word; a longer one (Chinese, base64) is cut inside."""
JOINED = "\u200d"
"""Zero-width joiner: the characters on both sides are one glyph."""


class Gap(NamedTuple):
    """The removed part of a text, and its replacement."""

    start: int
    end: int
    glue: str = ""


def room_for_prompt(context: int, max_tokens: int) -> int:
    """Tokens left for the prompt: `max_tokens`, at most half of the context, is reserved for the answer."""
    return context - min(max_tokens, context // 2)


def head(text: str, keep: int) -> Gap:
    return Gap(0, begin_of_word(text, len(text) - keep))


def tail(text: str, keep: int) -> Gap:
    return Gap(end_of_word(text, keep), len(text))


def middle(text: str, keep: int) -> Gap:
    """Keep both ends at equal length, cut between lines or words."""
    start, end = end_of_word(text, keep - keep // 2), begin_of_word(text, len(text) - keep // 2)
    if start >= end:
        return Gap(len(text), len(text))
    gone = text[start:end]
    return Gap(start, end, "\n" if "\n" in gone or not any(map(str.isspace, gone)) else " ")


GAPS: dict[str, Callable[[str, int], Gap]] = {"head": head, "middle": middle, "tail": tail}


def end_of_word(text: str, at: int) -> int:
    """The last position up to `at` where a word ends."""
    if at <= 0 or at >= len(text):
        return min(max(at, 0), len(text))
    place = at
    if not text[at].isspace():
        while place and at - place < RUN and not text[place - 1].isspace():
            place -= 1
        if place and not text[place - 1].isspace():
            return _whole_sign(text, at, -1)
    while place and text[place - 1].isspace():
        place -= 1
    return place


def begin_of_word(text: str, at: int) -> int:
    """The first position from `at` on where a word or a non-empty line begins."""
    if at <= 0 or at >= len(text):
        return min(max(at, 0), len(text))
    place = at
    if not text[at - 1].isspace():
        while place < len(text) and place - at < RUN and not text[place].isspace():
            place += 1
        if place < len(text) and not text[place].isspace():
            return _whole_sign(text, at, 1)
    while place < len(text) and text[place].isspace():
        place += 1
    line = text.rfind("\n", at - 1, place) + 1
    return line or place


def _whole_sign(text: str, at: int, step: int) -> int:
    """Move in direction `step` until no glyph is split: accents and joined emoji belong to the character before them."""
    while 0 < at < len(text) and (
        unicodedata.category(text[at]).startswith("M")
        or JOINED in text[at - 1 : at + 1]
        or "\U0001f3fb" <= text[at] <= "\U0001f3ff"
    ):
        at += step
    return at
