"""Looks once a second whether the files of all stores are still there, while the hub has something to do.

It knows no store: what a loss is, and what follows from it, is the business of each.
"""

from typing import Protocol

from llmctld.runtime.log import log


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
                try:
                    store.look()
                except Exception:  # noqa: BLE001 - the hub's heartbeat must go on, and the other stores be looked at
                    log.error("a store cannot be looked at", store=type(store).__name__, exc_info=True)
