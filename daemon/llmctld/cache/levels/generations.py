"""Tells a lookup whether its key was written or removed meanwhile, by a generation number per key.

So a copy to a higher level that started before a deletion never restores the value.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Generations:
    """Used on one thread. A number exists only during lookups, so that their count stays bounded."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._lookers: dict[str, int] = {}

    @contextmanager
    def looking(self, key: str) -> Iterator[Callable[[], bool]]:
        """Yields a function: whether `key` is unchanged since."""
        self._lookers[key] = self._lookers.get(key, 0) + 1
        began = self._numbers.setdefault(key, 0)
        try:
            yield lambda: self._numbers.get(key) == began
        finally:
            self._lookers[key] -= 1
            if not self._lookers[key]:
                del self._lookers[key], self._numbers[key]

    def next(self, key: str) -> None:
        if key in self._numbers:
            self._numbers[key] += 1

    def next_of_all(self) -> None:
        for key in self._numbers:
            self._numbers[key] += 1
