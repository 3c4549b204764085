"""A generation number for each key that is being looked up: a write or a removal raises it, and what was found before is stale.

So a copy upward that began before a delete never brings the value back. It knows keys, and neither values nor levels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Generations:
    """On one thread. A number is kept while somebody looks, so that they do not grow without end."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._lookers: dict[str, int] = {}

    @contextmanager
    def looking(self, key: str) -> Iterator[Callable[[], bool]]:
        """Gives a question: whether nothing was written or removed under `key` since."""
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
