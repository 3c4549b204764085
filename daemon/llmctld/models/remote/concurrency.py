"""Limits the concurrent requests to an endpoint. Waiting requests run by priority, then in order of arrival."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class PrioritySemaphore:
    def __init__(self, slots: int) -> None:
        self._free = slots
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []
        """(priority, order of arrival, request number, set when it has a slot)."""

    @asynccontextmanager
    async def slot(self, priority: int, number: int = 0) -> AsyncIterator[None]:
        """Holds a slot while the block runs. Lower priorities go first. `number`: the request, for `move`."""
        await self._take(priority, number)
        try:
            yield
        finally:
            self._give()

    def move(self, number: int, priority: int) -> None:
        """Gives a request that waits another priority."""
        self._waiting = [(priority if each[2] == number else each[0], *each[1:]) for each in self._waiting]
        heapq.heapify(self._waiting)

    async def _take(self, priority: int, number: int) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._numbers), number, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot had just been given to the cancelled request
                self._give()
            raise

    def _give(self) -> None:
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
