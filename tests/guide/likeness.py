"""How alike two texts are: the edit ratio of their words in lower case, 0 (nothing in common) to 1 (equal).

Knows no file and no threshold but LIMIT: a training text that is this close to a held-out question would give it away.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher

LIMIT = 0.8


def plain(text: str) -> str:
    """`text` in lower case, without punctuation at its ends, with single spaces; as it is if nothing else is in it."""
    return re.sub(r"\s+", " ", text.lower()).strip(" .,;:!?\"'`") or text


def ratio(one: str, other: str) -> float:
    """2 * M / T for M matching characters of T in both. The order of the arguments does not matter."""
    one, other = sorted((plain(one), plain(other)))
    forward = SequenceMatcher(None, one, other, autojunk=False)
    return max(forward.ratio(), SequenceMatcher(None, other, one, autojunk=False).ratio())


def pairs_above(
    texts: Iterable[str], held_out: Sequence[str], limit: float = LIMIT
) -> Iterator[tuple[str, str, float]]:
    """(text, held-out question, ratio) of each pair at or above `limit`. Some 100,000 texts take minutes.

    The upper bounds that difflib offers come first: they dismiss nearly every pair.
    """
    known = [(question, plain(question)) for question in held_out]
    for text in texts:
        matcher = SequenceMatcher(None, "", plain(text), autojunk=False)  # it prepares its second text only once
        for question, words in known:
            matcher.set_seq1(words)
            if matcher.real_quick_ratio() >= limit and matcher.quick_ratio() >= limit:
                found = ratio(text, question)
                if found >= limit:
                    yield text, question, found
