"""Where a text may be cut: what `head`, `middle` and `tail` leave out of it when so many characters may stay.

It knows words, lines and signs, and no tokens; which is why who asks an endpoint can use it too.
"""

import unicodedata
from collections.abc import Callable
from typing import NamedTuple

RUN = 100
"""Characters without white space that are taken for a word: a longer run (Chinese, base64) is cut within."""
JOINED = "\u200d"
"""What stands on both sides of it is one sign."""


class Gap(NamedTuple):
    """What is left out of a text, and what stands there instead."""

    start: int
    end: int
    glue: str = ""


def room_for_prompt(context: int, max_tokens: int) -> int:
    """Tokens: the answer keeps what was asked for, at most half of the context."""
    return context - min(max_tokens, context // 2)


def head(text: str, keep: int) -> Gap:
    return Gap(0, begin_of_word(text, len(text) - keep))


def tail(text: str, keep: int) -> Gap:
    return Gap(end_of_word(text, keep), len(text))


def middle(text: str, keep: int) -> Gap:
    """Both ends stay, as long as each other. Lines stay lines and words words where they now meet."""
    start, end = end_of_word(text, keep - keep // 2), begin_of_word(text, len(text) - keep // 2)
    if start >= end:
        return Gap(len(text), len(text))
    gone = text[start:end]
    return Gap(start, end, "\n" if "\n" in gone or not any(map(str.isspace, gone)) else " ")


GAPS: dict[str, Callable[[str, int], Gap]] = {"head": head, "middle": middle, "tail": tail}


def end_of_word(text: str, at: int) -> int:
    """The last place up to `at` where a word ends."""
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
    """The first place from `at` on where a word begins, or a line that is not empty."""
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
    """From there on where no sign is taken apart: accents and joined emoji belong to the letter before them."""
    while 0 < at < len(text) and (
        unicodedata.category(text[at]).startswith("M")
        or JOINED in text[at - 1 : at + 1]
        or "\U0001f3fb" <= text[at] <= "\U0001f3ff"
    ):
        at += step
    return at
