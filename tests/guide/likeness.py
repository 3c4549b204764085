"""How alike two texts are: the edit ratio of their letters in lower case, 0 (nothing in common) to 1 (equal).

Knows no file and no threshold but LIMIT: a training text that is this close to a held-out question would give it away.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np

LIMIT = 0.8
BINS = 128
"""Kinds of letters that are told apart when letters are counted."""


def plain(text: str) -> str:
    """`text` in lower case, without punctuation at its ends, with single spaces; as it is if nothing else is in it."""
    return re.sub(r"\s+", " ", text.lower()).strip(" .,;:!?\"'`") or text


def ratio(one: str, other: str) -> float:
    """2 * M / T for M matching characters of T in both. The order of the arguments does not matter."""
    texts = plain(one), plain(other)
    return max(SequenceMatcher(None, *pair, autojunk=False).ratio() for pair in (texts, texts[::-1]))


def pairs_above(
    texts: Iterable[str], held_out: Sequence[str], limit: float = LIMIT
) -> Iterator[tuple[str, str, float]]:
    """(text, held-out question, ratio) of each pair at or above `limit`. A text takes some 0.1 ms.

    No pair has more characters matching than it has letters in common, which are quick to count.
    """
    counts = np.array([_letters(question) for question in held_out]).reshape(-1, BINS)
    lengths = counts.sum(axis=1)
    for text in texts:
        letters = _letters(text)
        bounds = 2 * np.minimum(counts, letters).sum(axis=1) / (lengths + letters.sum())
        for at in np.flatnonzero(bounds >= limit).tolist():
            found = ratio(text, held_out[at])
            if found >= limit:
                yield text, held_out[at], found


def _letters(text: str) -> np.ndarray:
    """How many characters of each kind `text` has, as int64 (BINS,)."""
    return np.bincount([ord(letter) % BINS for letter in plain(text)], minlength=BINS)
