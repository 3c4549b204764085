"""A limit on silence: a block in which nothing is heard for so long is ended, however slowly bytes trickle in."""

import asyncio
from types import TracebackType


class Silence(Exception):
    """Nothing was heard for `limit` seconds."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"nothing came for {limit:g} s")


class Idle:
    """Cancels its own task's wait when `heard` was not called for `limit` seconds; the block then raises Silence.

    One timer serves the whole block: what is heard a thousand times a second costs an assignment each.
    """

    def __init__(self, limit: float) -> None:
        self._limit, self._expired = limit, False

    def __enter__(self) -> "Idle":
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self.heard()
        self._timer = self._loop.call_later(self._limit, self._look)
        return self

    def heard(self) -> None:
        self._last = self._loop.time()

    def _look(self) -> None:
        end = self._last + self._limit
        if self._loop.time() < end:
            self._timer = self._loop.call_at(end, self._look)
            return
        self._expired = True
        assert self._task is not None
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._expired and isinstance(error, asyncio.CancelledError):
            if (uncancel := getattr(self._task, "uncancel", None)) is not None:  # Python 3.11 counts
                uncancel()
            raise Silence(self._limit) from None
