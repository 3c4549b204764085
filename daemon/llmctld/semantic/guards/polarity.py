"""Guard `negation`: one text denies what the other says, by a negation, an opposite or a prefix.

Two negations are not resolved: "not forbidden" and "allowed" count as different.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmctld.semantic.words.opposites import EXCHANGED, NEGATORS, PREFIXES, phrase_starts, scales
from llmctld.semantic.words.stems import stem
from llmctld.semantic.words.tables import words

# Words beside which "not" or "no" negates nothing: "not only", "or not", "don't you think", "no matter", "no. 1".
_EMPTY_AFTER = {"not": ("only", "just", "why", "then"), "no": ("why", "then", "how")}
_EMPTY_BEFORE = {"not": ("or", "why")}
_YOU = words("you it there we this that he she they")
_NO_NEGATION = words("matter doubt 1 one or roll phone question yes")
_STRICT = words(
    """
    without sans sin ohne senza sem zonder neither nor né nem noch never jamais nunca nie mai nooit no none nobody nothing
    """
)
"""Words that deny even what the other text does not mention: "coffee without milk" differs from "coffee"."""
_DENYING = words("stop avoid quit prevent lack lacking only rather except instead")
"""Words that negate as "not" does: "how do I not worry" means "how do I stop worrying"."""
_REACH = 5
"""A negation may deny the four words after it (in _BEHIND also the two before it)."""
_BEHIND = ("de", "fr")
"""Languages whose negations may follow what they negate."""
_EXCHANGED = tuple(EXCHANGED)
_LITTLE = words(
    """
    a an the any it i you we they he she me my your our is are was were be been being do does did don have has
    had to of in on at for and or but with that this so as than then there what which who how why when wher where if can
    could will would should not no der die das ein ist sind ich du wir le la les un une est es el los las una
    """
)
"""Function words: they are not what a negation denies."""

Sides = dict[int, int]
"""scale -> 1 (left), 2 (right) or 3 (both)."""


class Negation(NamedTuple):
    """A negating word, and the stems of the words that it may deny."""

    word: str
    denies: frozenset[str]


def negations(folded: Sequence[str], language: str) -> list[Negation]:
    """The negations of a text, but for "or not", "why not" and "not only"."""
    negators = NEGATORS.get(language, NEGATORS["en"])
    found = []
    for at, word in enumerate(folded):
        if word not in negators:
            continue
        before = folded[at - 1] if at else ""
        after = folded[at + 1] if at + 1 < len(folded) else ""
        if after in _EMPTY_AFTER.get(word, ()) or before in _EMPTY_BEFORE.get(word, ()):
            continue
        if at == 1 and word == "not" and after in _YOU:  # "don't you think ..." means "do you think ..."
            continue
        if word == "not" and after in _YOU and at + 2 == len(folded):  # ..., isn't it?
            continue
        if word == "no" and (after in _NO_NEGATION or before in _NO_NEGATION or not after):
            continue
        reach = folded[max(0, at - 2) : at + _REACH] if language in _BEHIND else folded[at + 1 : at + _REACH]
        found.append(Negation(word, stems(reach, language)))
    return found


def denied(ones: Sequence[Negation], others: Iterable[str], said: frozenset[str], theirs: Sequence[Negation]) -> bool:
    """Whether a text with the negations `ones` denies what another text says. The other text has the words `others`, the stems
    `said` and the negations `theirs`.

    "is it not safe" denies "is it safe": "safe" is said and not negated there. "how do I log in, not with Google" does not deny
    "how do I log in": the other text does not mention Google. Words in _STRICT deny it nevertheless, and so does a negation whose
    words are all function words ("it is not").
    """
    common = {one.word for one in ones} & {one.word for one in theirs}
    ones = [one for one in ones if one.word not in common]
    if not ones or len(theirs) > len(common) or not _DENYING.isdisjoint(others):
        return False
    return any(one.word in _STRICT or not one.denies or not one.denies.isdisjoint(said) for one in ones)


def stems(folded: Iterable[str], language: str) -> frozenset[str]:
    """The stems of all words but function words."""
    return frozenset(stem(word, language) for word in folded if word not in _LITTLE)


def sides(folded: Sequence[str], language: str) -> Sides:
    """The sides of scales of opposites on which a text has words."""
    table, starts = scales(language), phrase_starts(language)
    found: Sides = {}
    for at, word in enumerate(folded):
        if word == "old" and at and folded[at - 1] in ("year", "years", "month", "months"):
            continue
        places = table.get(word, ())
        if word in starts and at + 1 < len(folded):
            places += table.get(f"{word} {folded[at + 1]}", ())
        for scale, side in places:
            found[scale] = found.get(scale, 0) | (1 << side)
    return found


def opposed(a: Sides, b: Sides) -> bool:
    """Whether the texts are on opposite sides of a scale."""
    return any(side ^ b.get(scale, side) == 3 for scale, side in a.items())  # 1 and 2: left here, right there


def prefixed(ones: set[str], others: set[str]) -> bool:
    """Whether a word of one text is a word of the other with un-, in-, dis-, ... or -less, or has over- where that has
    under-."""
    here, there = ones - others, others - ones
    return _prefixed(here, there) or _prefixed(there, here)


def _prefixed(ones: set[str], others: set[str]) -> bool:
    for word in ones:
        if len(word) < 5:
            continue
        for prefix in PREFIXES if word.startswith(PREFIXES) else ():
            if word.startswith(prefix) and len(word) - len(prefix) > 3 and word[len(prefix) :] in others:
                return True
        if word.startswith(_EXCHANGED):
            for prefix, other in EXCHANGED.items():
                if word.startswith(prefix) and other + word[len(prefix) :] in others:
                    return True
        if word.endswith("less") and (word[:-4] in others or word[:-4] + "ful" in others):
            return True
    return False
