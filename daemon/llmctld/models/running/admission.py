"""Admission: how many requests run or wait for each model, and when the queue is full.

Knows numbers only; engine/core/queue.py decides the order of requests.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from llmctl.config import ModelEntry
from llmctl.errors import Busy, counted
from llmctld.models.running.residency import Residency


class Admission:
    """At most `queue` requests wait for a model, besides those that hold one of its slots."""

    def __init__(self, residency: Residency, queue: int) -> None:
        self._residency, self._queue = residency, queue
        self._taken: Counter[str] = Counter()
        self._left = asyncio.Event()
        """Set, and replaced by a new one, each time a place becomes free."""

    async def wait_for_slot(self, entry: ModelEntry) -> None:
        """Returns once a slot of the model is free: for requests that can wait, and leave the queue to others."""
        while self._taken[entry.name] >= self._residency.slots(entry):
            await self._left.wait()

    @contextmanager
    def place(self, entry: ModelEntry) -> Iterator[None]:
        """Holds a place for one request while the block runs. Raises Busy."""
        slots = self._residency.slots(entry)
        if self._taken[entry.name] >= slots + self._queue:
            raise Busy(
                f"the queue of {entry.name} is full: {counted(slots, 'request')} running, {self._queue} waiting (limits.queue)"
            )
        self._taken[entry.name] += 1
        try:
            yield
        finally:
            self._taken[entry.name] -= 1
            left, self._left = self._left, asyncio.Event()
            left.set()
