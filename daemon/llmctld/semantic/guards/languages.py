"""Guard `language`: the language of a text, and the natural and programming languages that it names.

The language is detected by its commonest words and its letters; a short text may have none, and counts as English.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from llmctld.semantic.words.stems import stem
from llmctld.semantic.words.tables import by_name, rows, section, sections, words

READ = frozenset(by_name(section("languages", "common")))
"""The languages with tables. A question in another language gets only the answer of its restatement."""
_COMMON = {
    language: words(row)
    for name in ("common", "common, not read")
    for language, row in by_name(section("languages", name)).items()
}
_ALL_COMMON = frozenset[str]().union(*_COMMON.values())
_COMMON_IN = {word: [name for name, common in _COMMON.items() if word in common] for word in _ALL_COMMON}

_PROGRAMS = rows(section("languages", "programs"))
_PROGRAM_WORDS = rows(section("languages", "programs in context"))
_PROGRAM_CONTEXT = words(
    "program programs programming language code coding function compiler developer script library array"
)
_PROGRAM_NAMES = frozenset((*_PROGRAMS.values(), *_PROGRAM_WORDS.values()))
_NATURAL = words(section("languages", "natural"))
_SPOKEN = {
    name.removeprefix("languages "): {stem(word, name[-2:]): first for word, first in rows("\n".join(lines)).items()}
    for name, lines in sections("cldr").items()
    if name.startswith("languages ")
}
"""Language -> the stem of a language's name in it -> the English name. Adjectives have the same stem: französische."""
_FOREIGN_LETTER = re.compile("[" + section("languages", "letters, not read") + "]")
_AS_LANGUAGE = words(
    "french german spanish italian portuguese dutch russian chinese japanese korean turkish polish greek swedish"
)
_BEFORE_NATURAL = words("in into learn speak speaking learning speaks translate auf en")
_BEFORE_PROGRAM = words("in into using with learn learning to from than or and vs use")


class DetectedLanguage(NamedTuple):
    """`language` is the likeliest one with tables, English if nothing tells. `sure`: enough to tell two languages apart."""

    language: str
    sure: bool
    read: bool = True
    """False if the text is likelier in a language without tables."""


def detect(folded: Sequence[str]) -> DetectedLanguage:
    """The language of a text by its commonest words."""
    counts = dict.fromkeys(_COMMON, 0)
    for word in _ALL_COMMON.intersection(folded[:200]):
        for name in _COMMON_IN[word]:
            counts[name] += 1
    letters = sum(not word.isascii() and _FOREIGN_LETTER.search(word) is not None for word in folded[:200])
    second, best = sorted(counts[name] for name in READ)[-2:]
    unread = letters + max(count for name, count in counts.items() if name not in READ)
    likeliest = next(name for name, count in counts.items() if count == best)
    sure = best > 1 and best > max(second, unread) + (best < 5)
    return DetectedLanguage(likeliest if best else "en", sure, best >= unread)


UNREAD = words(
    """
    CJK HIRAGANA KATAKANA HANGUL THAI ARABIC HEBREW DEVANAGARI CYRILLIC GREEK BENGALI TAMIL TELUGU GUJARATI GEORGIAN ARMENIAN
    """
)
"""Scripts without tables: neither a negation nor a number would be seen."""


def script(text: str) -> str:
    """The script of most letters of `text`: "LATIN", "CJK", ..."""
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


def named_languages(text: str, folded: Sequence[str], language: str = "en") -> set[str]:
    """The languages that a text names, by their English names."""
    found = set()
    spoken = _SPOKEN.get(language, {})
    for at, word in enumerate(folded):
        word = word.rstrip("0123456789.") or word
        if word in _PROGRAMS:
            found.add(_PROGRAMS[word])
        elif spoken and (name := spoken.get(stem(word, language))) is not None:
            found.add(name)
        elif word in _NATURAL or (word in _AS_LANGUAGE and _named_as_language(folded, at)):
            found.add(word)
        elif word in _PROGRAM_WORDS and _named_as_program(text, folded, at):
            found.add(_PROGRAM_WORDS[word])
    return found


def differ(a: set[str], b: set[str], words_of_a: set[str], words_of_b: set[str]) -> bool:
    """Whether each text names a language that the other does not, or only one names a programming language."""
    if a == b:
        return False
    here, there = a - b - words_of_b, b - a - words_of_a
    return bool(here and there) or (not (a and b) and not (here | there).isdisjoint(_PROGRAM_NAMES))


def _named_as_language(folded: Sequence[str], at: int) -> bool:
    after = folded[at + 1] if at + 1 < len(folded) else ""
    return after == "language" or (at > 0 and folded[at - 1] in _BEFORE_NATURAL)


def _named_as_program(text: str, folded: Sequence[str], at: int) -> bool:
    """Whether a small word is the name of a programming language here: "in go", "c program", "than Rust"."""
    before, after = folded[at - 1] if at else "", folded[at + 1] if at + 1 < len(folded) else ""
    if after in _PROGRAM_CONTEXT:
        return True
    return before in _BEFORE_PROGRAM and (before == "in" or f" {folded[at].capitalize()}" in text)
