"""Drafts out of a sequence itself: what followed the last time that its last few tokens stood there.

It knows token ids only; whether a draft pays is for speculation.py to say, and whether it was right for the model.
"""

from typing import NamedTuple

SIZES = (8, 4, 2, 1)
"""The n-grams that are looked up, the longest first: the longer what was found, the likelier it goes on the same way."""


class Draft(NamedTuple):
    """Tokens that may come next, and the size of the n-gram that they were found by (0: nothing was found)."""

    tokens: list[int]
    size: int


class Guess(NamedTuple):
    """A token that has come: the size that would have named it, and whether it was named rightly."""

    size: int
    right: bool


class Drafter:
    """The drafts of one sequence, a function of its tokens alone.

    Where each n-gram ended last is noted once, so that a step costs microseconds however long the text is.
    """

    def __init__(self) -> None:
        self._ends: dict[int, dict[tuple[int, ...], int]] = {size: {} for size in SIZES}
        self._read = 0

    def read(self, tokens: list[int]) -> list[Guess]:
        """Note what `tokens` gained since the last time, and tell how it had been guessed; the first time only note.

        `tokens` only ever grows.
        """
        if not self._read:
            for size, ends in self._ends.items():
                grams = zip(*(tokens[first:] for first in range(size)), strict=False)
                ends.update(zip(grams, range(size, len(tokens)), strict=False))
            self._read = len(tokens)
            return []
        guesses = [self._note(tokens, at) for at in range(self._read, len(tokens))]
        self._read = len(tokens)
        return [guess for guess in guesses if guess.size]

    def _note(self, tokens: list[int], at: int) -> Guess:
        """The n-grams before index `at` are followed by the token there."""
        guess = Guess(0, False)
        for size, ends in self._ends.items():
            if size <= at:
                gram = tuple(tokens[at - size : at])
                before = ends.get(gram)
                ends[gram] = at
                if before is not None and not guess.size:
                    guess = Guess(size, tokens[before] == tokens[at])
        return guess

    def propose(self, tokens: list[int], limit: int) -> Draft:
        """At most `limit` tokens after `tokens`, all of which have been read.

        A draft that reaches the end of the text goes on with itself: so a loop is drafted at any length.
        """
        for size, ends in self._ends.items():
            at = ends.get(tuple(tokens[-size:]))
            if at is not None:
                period = len(tokens) - at
                return Draft([tokens[at + ahead % period] for ahead in range(limit)], size)
        return Draft([], 0)
