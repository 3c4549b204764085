"""Numbers in words, by `text2num`; years such as "nineteen eighty", "dozen" and Roman numerals are added here.

Languages are English, German, French, Spanish, Italian, Portuguese and Dutch; all others are read as English.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from text_to_num import find_numbers

from llmctld.semantic.words.tables import section, words

LANGUAGES = frozenset(("en", "de", "fr", "es", "it", "pt", "nl"))

ORDINAL_ENDINGS = frozenset(("st", "nd", "rd", "th", ".", "er", "ère", "e", "º", "ª", "o"))
"""Endings of ordinal numbers in digits."""


class WordNumber(NamedTuple):
    """`length` is in words. `loose`: it means nothing if the other text has no number."""

    length: int
    value: float | str
    loose: bool


class _Token:
    """A word as `find_numbers` takes it."""

    __slots__ = ("_excluded", "_word")

    def __init__(self, word: str, excluded: bool) -> None:
        self._word, self._excluded = word, excluded

    def text(self) -> str:
        return self._word

    def nt_separated(self, previous: "_Token") -> bool:
        return False

    def not_a_number_part(self) -> bool:
        return self._excluded


@cache
def _singles() -> dict[str, WordNumber]:
    """Words for a number that `text2num` does not know."""
    pairs = (pair.partition("=") for pair in section("numbers", "singles").split())
    return {word: WordNumber(1, int(value), False) for word, _, value in pairs}


@cache
def _loose() -> frozenset[str]:
    return words(section("numbers", "loose"))


@cache
def _no_numbers() -> frozenset[str]:
    return words(section("numbers", "no numbers"))


@cache
def _not_before_second() -> frozenset[str]:
    return words(section("numbers", "before a second of time"))


@lru_cache(maxsize=20_000)
def _is_number(word: str, language: str) -> bool:
    """Whether a word is a number or a part of one. Most texts have none, which saves the search."""
    return bool(find_numbers([_Token(word, False)], language, threshold=0))


def word_numbers(folded: Sequence[str], language: str) -> dict[int, WordNumber]:
    """Where a number in words begins -> that number."""
    language = language if language in LANGUAGES else "en"
    singles = _singles()
    found = {at: singles[word] for at, word in enumerate(folded) if word in singles}
    if any(_is_number(word, language) for word in folded):
        found = _read(folded, language) | found
    return found


def _read(folded: Sequence[str], language: str) -> dict[int, WordNumber]:
    none = _no_numbers()
    tokens = [
        _Token(word, word in none or (word == "second" and _is_time(folded, at))) for at, word in enumerate(folded)
    ]
    found: dict[int, WordNumber] = {}
    last: int | None = None
    for number in find_numbers(tokens, language, threshold=0):
        start, length, value = number.start, number.end - number.start, _plain(number.value)
        year = None if last is None else _year(found[last], last, start, value)
        if last is not None and year is not None:
            found[last] = WordNumber(start + length - last, year, False)
            continue
        found[start] = WordNumber(length, value, length == 1 and folded[start] in _loose())
        last = start
    return found


def _plain(value: float) -> float | str:
    """Whole numbers as int, others as they are written in digits."""
    return int(value) if value.is_integer() else f"{value:g}"


def _year(before: WordNumber, at: int, start: int, value: float | str) -> int | None:
    """The year of two numbers side by side, nineteen eighty; None where they are two."""
    if at + before.length != start or not isinstance(before.value, int) or not isinstance(value, int):
        return None
    return before.value * 100 + value if 13 <= before.value <= 20 and 10 <= value < 100 else None


def _is_time(folded: Sequence[str], at: int) -> bool:
    """Whether "second" is sixty to a minute: "per second"."""
    return at == 0 or folded[at - 1] in _not_before_second()
