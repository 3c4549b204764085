"""Common nouns by kind: a cat is no dog, butter is no margarine, grep is no sed; a car and its paint say nothing of each other.

A kind is what people ask the same question about. Left out are words for a whole kind ("animal"), and words that mostly
mean something else; words that people use for one another are one thing.
"""

from collections.abc import Sequence

from llmctld.semantic.words.tables import sections

Noun = tuple[str, str]
"""The kind of a thing, and its name."""


def plural(word: str) -> str:
    """The regular plural of an English noun."""
    if word.endswith("y") and word[-2] not in "aeou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "sh", "ch", "x", "z", "ato")) else "s")


def _by_word() -> dict[str, frozenset[Noun]]:
    """Each word and phrase, in singular and plural -> the things that it may be."""
    table: dict[str, set[Noun]] = {}
    kinds = {kind: " ".join(lines) for kind, lines in sections("nouns").items()}
    listed = {word for things in kinds.values() for word in things.replace(",", " ").split()}
    for kind, things in kinds.items():
        for thing in things.split(","):
            first, *others = (word.replace("_", " ") for word in thing.split())
            for word in (first, *others):
                for form in (word, plural(word)):
                    if form == word or form not in listed:  # https is no two http
                        table.setdefault(form, set()).add((kind, first))
    return {word: frozenset(things) for word, things in table.items()}


_NOUNS = _by_word()
_STARTS = frozenset(word.split()[0] for word in _NOUNS if " " in word)


def nouns(folded: Sequence[str]) -> set[Noun]:
    """The things that a folded English text names, by their longest names: what is a peanut butter is no butter."""
    found: set[Noun] = set()
    end = 0
    for at, word in enumerate(folded):
        if at < end:
            continue
        word = word[:-2] if word.endswith("'s") and word not in _NOUNS else word
        if word in _STARTS:
            for length in (3, 2):
                phrase = " ".join(folded[at : at + length])
                if phrase in _NOUNS:
                    word, end = phrase, at + length
                    break
        found |= _NOUNS.get(word, frozenset())
    return found


def exchanged(ones: set[Noun], others: set[Noun]) -> bool:
    """Whether each text names a thing of one kind that the other lacks."""
    if not ones or not others or ones == others:
        return False
    return not {kind for kind, _ in ones - others}.isdisjoint(kind for kind, _ in others - ones)
