"""How many requests are with each model, running or waiting, and when that is too many.

It knows numbers alone; what a request is, and who runs first, is decided elsewhere.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from llmctl.config import ModelEntry
from llmctl.errors import Busy
from llmctld.models.running.residency import Residency


class Places:
    """At most `queue` requests wait for a model, beside those that hold a slot of it."""

    def __init__(self, residency: Residency, queue: int) -> None:
        self._residency, self._queue = residency, queue
        self._taken: Counter[str] = Counter()
        self._left = asyncio.Event()
        """Set, and begun anew, each time a place is given back."""

    async def free(self, entry: ModelEntry) -> None:
        """Returns once a slot of the model is nobody's: for who can wait, and leaves the places of the queue to others."""
        while self._taken[entry.name] >= self._residency.slots(entry):
            await self._left.wait()

    @contextmanager
    def one(self, entry: ModelEntry) -> Iterator[None]:
        """A place for one request, until the block is left. Raises Busy."""
        slots = self._residency.slots(entry)
        if self._taken[entry.name] >= slots + self._queue:
            raise Busy(f"the queue of {entry.name} is full: {slots} requests run and {self._queue} wait (limits.queue)")
        self._taken[entry.name] += 1
        try:
            yield
        finally:
            self._taken[entry.name] -= 1
            left, self._left = self._left, asyncio.Event()
            left.set()
