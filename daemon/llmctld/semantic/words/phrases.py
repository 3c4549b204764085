"""Contractions and polite phrases: the tables of `fold`, read on first use."""

from functools import cache
from typing import NamedTuple

from llmctld.semantic.words.tables import section, words

BE = frozenset(("is", "are", "was", "were"))
INVERTED = frozenset(("what", "who", "where", "when", "why"))
"""Question words behind which the verb comes before its subject."""
QUESTION_WORDS = INVERTED | {"which", "whose", "whom", "how"}

ByWord = dict[str, list[tuple[str, ...]]]
"""Phrases, longest first, by their first or last word."""


class Phrases(NamedTuple):
    """The sections of phrases.txt."""

    contractions: dict[str, str]
    endings: dict[str, str]
    elided: frozenset[str]
    before_is: frozenset[str]
    request_verbs: frozenset[str]
    openings: ByWord
    requests: ByWord
    closings: ByWord


@cache
def phrases() -> Phrases:
    return Phrases(
        contractions=_pairs("contractions"),
        endings=_pairs("endings"),
        elided=words(section("phrases", "elided")),
        before_is=words(section("phrases", "before 's")),
        request_verbs=words(section("phrases", "request verbs")),
        openings=_by_word("openings", 0),
        requests=_by_word("requests", 0),
        closings=_by_word("closings", -1),
    )


def _pairs(name: str) -> dict[str, str]:
    lines = section("phrases", name).splitlines()
    return {short: long for short, _, long in (line.partition(" = ") for line in lines)}


def _by_word(name: str, place: int) -> ByWord:
    """By the first (0) or last (-1) word."""
    table: ByWord = {}
    for line in sorted(section("phrases", name).splitlines(), key=len, reverse=True):
        phrase = tuple(line.split())
        table.setdefault(phrase[place], []).append(phrase)
    return table
