"""Guard `name`, too: common nouns by kind. A cat is no dog, butter is no margarine, grep is no sed.

Only nouns of one kind are compared: a car and paint are no contradiction. Words for the same thing are one noun.
"""

from collections.abc import Sequence

from llmctld.semantic.words.tables import sections

Noun = tuple[str, str]
"""The kind of a thing, and its name."""


def _by_word() -> dict[str, frozenset[Noun]]:
    """Each word and phrase as it is listed, in the singular -> the things that it may be."""
    table: dict[str, frozenset[Noun]] = {}
    for kind, things in _kinds().items():
        for thing in things:
            words = thing.split()
            noun = frozenset(((kind, words[0]),))
            for word in words:
                table[word] = table[word] | noun if word in table else noun
    return {word.replace("_", " "): nouns for word, nouns in table.items()}


def _kinds() -> dict[str, list[str]]:
    """Kind -> its things, each as the words for it."""
    kinds = {kind: " ".join(lines).split(", ") for kind, lines in sections("nouns").items()}
    for name, lines in sections("wordnet").items():
        if name.startswith("nouns "):
            kinds.setdefault(name.removeprefix("nouns "), []).extend(lines)
    return kinds


_NOUNS = _by_word()
_STARTS = frozenset(word.split()[0] for word in _NOUNS if " " in word)


def _of(word: str) -> frozenset[Noun] | None:
    """The things that a word or phrase may be: as it is listed, else as a regular plural."""
    found = _NOUNS.get(word)
    if found is None and word.endswith("s"):
        found = _NOUNS.get(word[:-1])
        if found is None and word.endswith("es"):
            found = _NOUNS.get(word[:-3] + "y" if word.endswith("ies") else word[:-2])
    return found


def nouns(folded: Sequence[str]) -> set[Noun]:
    """The things that a folded English text names, by their longest names: peanut butter is not butter."""
    found: set[Noun] = set()
    end = 0
    for at, word in enumerate(folded):
        if at < end:
            continue
        word = word[:-2] if word.endswith("'s") and word not in _NOUNS else word
        if word in _STARTS:
            for length in (3, 2):
                phrase = " ".join(folded[at : at + length])
                if _of(phrase) is not None:
                    word, end = phrase, at + length
                    break
        found |= _of(word) or frozenset()
    return found


def exchanged(ones: set[Noun], others: set[Noun]) -> bool:
    """Whether each text names a thing of one kind that the other lacks."""
    if not ones or not others or ones == others:
        return False
    return not {kind for kind, _ in ones - others}.isdisjoint(kind for kind, _ in others - ones)
