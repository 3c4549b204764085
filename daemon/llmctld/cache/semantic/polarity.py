"""Whether one text denies what the other says: by a negation, by an opposite, by a prefix.

Does not know that "not forbidden" is "allowed": where it cannot tell, the texts differ.
"""

from collections.abc import Sequence

from llmctld.cache.semantic.opposites import NEGATORS, PREFIXES, phrase_starts, scales

_EMPTY_AFTER = {"not": ("only", "just")}
_EMPTY_BEFORE = {"not": ("or", "why")}
_NO_LONGER_A_WORD = ("matter", "doubt", "1", "one")

Sides = dict[int, int]
"""scale -> 1 (left), 2 (right) or 3 (both)."""


def negations(folded: Sequence[str], language: str) -> int:
    """How many words negate, without "or not", "why not" and "not only"."""
    negators = NEGATORS.get(language, NEGATORS["en"])
    count = 0
    for at, word in enumerate(folded):
        if word not in negators:
            continue
        before = folded[at - 1] if at else ""
        after = folded[at + 1] if at + 1 < len(folded) else ""
        if after in _EMPTY_AFTER.get(word, ()) or before in _EMPTY_BEFORE.get(word, ()):
            continue
        if word == "no" and (after in _NO_LONGER_A_WORD or before in ("or", "roll", "phone", "question") or not after):
            continue
        count += 1
    return count


def sides(folded: Sequence[str], language: str) -> Sides:
    """On which side of which scale of opposites a text has words."""
    table, starts = scales(language), phrase_starts(language)
    found: Sides = {}
    for at, word in enumerate(folded):
        places = table.get(word, ())
        if word in starts and at + 1 < len(folded):
            places += table.get(f"{word} {folded[at + 1]}", ())
        for scale, side in places:
            found[scale] = found.get(scale, 0) | (1 << side)
    return found


def opposed(a: Sides, b: Sides) -> bool:
    """Whether the texts are on opposite sides of a scale."""
    return any(side ^ b.get(scale, side) == 3 for scale, side in a.items())


def prefixed(ones: set[str], others: set[str]) -> bool:
    """Whether a word of one text is a word of the other with un-, in-, dis-, ... or -less before or behind it."""
    return _prefixed(ones - others, others - ones) or _prefixed(others - ones, ones - others)


def _prefixed(ones: set[str], others: set[str]) -> bool:
    for word in ones:
        if len(word) < 5:
            continue
        for prefix in PREFIXES:
            if word.startswith(prefix) and len(word) - len(prefix) > 3 and word[len(prefix) :] in others:
                return True
        if word.endswith("less") and (word[:-4] in others or word[:-4] + "ful" in others):
            return True
    return False
