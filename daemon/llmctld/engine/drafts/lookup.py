"""Drafts tokens by n-gram lookup: what followed the last occurrence of the sequence's last tokens.

It knows token ids only. speculation.py decides whether a draft pays.
"""

from typing import NamedTuple

SIZES = (8, 4, 2, 1)
"""N-gram sizes, longest first: a longer match continues the same way more often."""


class Draft(NamedTuple):
    """Tokens that may come next, and the size of the n-gram that matched (0: no match)."""

    tokens: list[int]
    size: int


class Prediction(NamedTuple):
    """The outcome for one token: the size of the n-gram that predicted it, and whether the prediction was right."""

    size: int
    right: bool


class Drafter:
    """Drafts for one sequence; a function of its tokens alone.

    The last end of each n-gram is indexed, so a step takes microseconds for a text of any length.
    """

    def __init__(self) -> None:
        self._ends: dict[int, dict[tuple[int, ...], int]] = {size: {} for size in SIZES}
        self._read = 0

    def read(self, tokens: list[int]) -> list[Prediction]:
        """Index the new tokens and return how each had been predicted; the first call only indexes. `tokens` only ever grows."""
        if not self._read:
            for size, ends in self._ends.items():
                grams = zip(*(tokens[first:] for first in range(size)), strict=False)
                ends.update(zip(grams, range(size, len(tokens)), strict=False))
            self._read = len(tokens)
            return []
        guesses = [self._note(tokens, at) for at in range(self._read, len(tokens))]
        self._read = len(tokens)
        return [guess for guess in guesses if guess.size]

    def _note(self, tokens: list[int], at: int) -> Prediction:
        """Index the n-grams before index `at`, which the token there follows."""
        guess = Prediction(0, False)
        for size, ends in self._ends.items():
            if size <= at:
                gram = tuple(tokens[at - size : at])
                before = ends.get(gram)
                ends[gram] = at
                if before is not None and not guess.size:
                    guess = Prediction(size, tokens[before] == tokens[at])
        return guess

    def propose(self, tokens: list[int], limit: int) -> Draft:
        """At most `limit` tokens after `tokens`, all of which have been read.

        A draft that reaches the end of the text continues with itself, so a loop is drafted at any length.
        """
        for size, ends in self._ends.items():
            at = ends.get(tuple(tokens[-size:]))
            if at is not None:
                period = len(tokens) - at
                return Draft([tokens[at + ahead % period] for ahead in range(limit)], size)
        return Draft([], 0)
