"""Which language a text is in, and which languages it speaks of: natural ones and those of programs."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from llmctld.semantic.words.tables import by_name, rows, section, words

_COMMON = {language: words(row) for language, row in by_name(section("languages", "common")).items()}
_ALL_COMMON = frozenset[str]().union(*_COMMON.values())
_COMMON_IN = {word: [name for name, common in _COMMON.items() if word in common] for word in _ALL_COMMON}

_PROGRAMS = rows(section("languages", "programs"))
_PROGRAM_WORDS = rows(section("languages", "programs in context"))
_PROGRAM_CONTEXT = words(
    "program programs programming language code coding function compiler developer script library array"
)
_PROGRAM_NAMES = frozenset((*_PROGRAMS.values(), *_PROGRAM_WORDS.values()))
_NATURAL = words(section("languages", "natural"))
_AS_LANGUAGE = words(
    "french german spanish italian portuguese dutch russian chinese japanese korean turkish polish greek swedish"
)
_BEFORE_NATURAL = words("in into learn speak speaking learning speaks translate auf en")
_BEFORE_PROGRAM = words("in into using with learn learning to from than or and vs use")


class Guess(NamedTuple):
    """`language`: the likeliest, English where nothing tells; `sure`: enough to say that another language is another."""

    language: str
    sure: bool


def detect(folded: Sequence[str]) -> Guess:
    """The language of a text by its commonest words."""
    counts = dict.fromkeys(_COMMON, 0)
    for word in _ALL_COMMON.intersection(folded[:200]):
        for name in _COMMON_IN[word]:
            counts[name] += 1
    second, best = sorted(counts.values())[-2:]
    likeliest = next(name for name, count in counts.items() if count == best)
    return Guess(likeliest if best else "en", best > 1 and best > second + (best < 5))


UNREAD = words(
    """
    CJK HIRAGANA KATAKANA HANGUL THAI ARABIC HEBREW DEVANAGARI CYRILLIC GREEK BENGALI TAMIL TELUGU GUJARATI GEORGIAN ARMENIAN
    """
)
"""Scripts in which no guard reads: neither a negation nor a number would be seen."""


def script(text: str) -> str:
    """The scripts of the letters of `text`, beginning with the one that has most, as "LATIN" or "CJK HIRAGANA"."""
    if text.isascii():
        return "LATIN"
    counts: dict[str, int] = {}
    for sign in text[:1000]:
        if sign > "\x7f" and sign.isalpha():
            name = unicodedata.name(sign, "?").split()[0]
            counts[name] = counts.get(name, 0) + 1
        elif sign.isalpha():
            counts["LATIN"] = counts.get("LATIN", 0) + 1
    return max(sorted(counts), key=counts.__getitem__) if counts else "LATIN"


def spoken_of(text: str, folded: Sequence[str]) -> set[str]:
    """The languages that a text names."""
    found = set()
    for at, word in enumerate(folded):
        word = word.rstrip("0123456789.") or word
        if word in _PROGRAMS:
            found.add(_PROGRAMS[word])
        elif word in _NATURAL or (word in _AS_LANGUAGE and _named_as_language(folded, at)):
            found.add(word)
        elif word in _PROGRAM_WORDS and _named_as_program(text, folded, at):
            found.add(_PROGRAM_WORDS[word])
    return found


def differ(a: set[str], b: set[str], words_of_a: set[str], words_of_b: set[str]) -> bool:
    """Whether each text names a language that the other does not, or one a programming language and the other none."""
    if a == b:
        return False
    here, there = a - b - words_of_b, b - a - words_of_a
    return bool(here and there) or (not (a and b) and not (here | there).isdisjoint(_PROGRAM_NAMES))


def _named_as_language(folded: Sequence[str], at: int) -> bool:
    after = folded[at + 1] if at + 1 < len(folded) else ""
    return after == "language" or (at > 0 and folded[at - 1] in _BEFORE_NATURAL)


def _named_as_program(text: str, folded: Sequence[str], at: int) -> bool:
    """Small words that are also names of languages: "in go", "c program", "than Rust"."""
    before, after = folded[at - 1] if at else "", folded[at + 1] if at + 1 < len(folded) else ""
    if after in _PROGRAM_CONTEXT:
        return True
    return before in _BEFORE_PROGRAM and (before == "in" or f" {folded[at].capitalize()}" in text)
