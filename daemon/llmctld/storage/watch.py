"""Looks once a second whether the files of all stores are still there, while the hub has something to do.

It knows no store: what a loss is, and what follows from it, is the business of each.
"""

from typing import Protocol


class Watched(Protocol):
    """A store with a file. `look` notices that the file is gone, replaced or cut short; it costs a stat and does not block."""

    def look(self) -> None: ...


class Watch:
    """All stores of the hub. `beat` is called each second. An idle hub writes nothing, so nothing is looked at there."""

    def __init__(self) -> None:
        self._stores: list[Watched] = []
        self._stirred = False

    def add(self, *stores: Watched) -> None:
        self._stores += stores

    def stir(self) -> None:
        """Something was asked since the last beat."""
        self._stirred = True

    def beat(self, busy: bool) -> None:
        """`busy`: a request is under way."""
        if busy or self._stirred:
            self._stirred = False
            for store in self._stores:
                store.look()
