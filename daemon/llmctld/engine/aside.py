"""Calls that may wait for another process while the engine goes on: each has a thread, but only one thread runs at a time.

A call runs as if it were made directly, until it waits (`outside`). Then the caller goes on, and resumes the call when
the wait is over. So nothing in an engine needs a lock.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

_current = threading.local()


class Aside(Generic[T]):
    """One call. `ready`: called from another thread once it can be resumed."""

    def __init__(self, call: Callable[[], T], ready: Callable[[], None]) -> None:
        self._call, self._ready = call, ready
        self._turn: SimpleQueue[None] = SimpleQueue()
        self._stepped_back: SimpleQueue[bool] = SimpleQueue()
        self._result: T
        self._error: BaseException | None = None
        self._thread: _Worker | None = None

    def resume(self) -> bool:
        """Run the call until it waits or ends; True if it has ended."""
        if self._thread is None:
            self._thread = _idle.pop() if _idle else _Worker()
            self._thread.jobs.put(self._run)
        else:
            self._turn.put(None)
        ended = self._stepped_back.get()
        if ended:
            _idle.append(self._thread)
        return ended

    def result(self) -> T:
        """What the ended call returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        _current.aside = self
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again in `result`, on the caller's thread
            self._error = error
        _current.aside = None
        self._stepped_back.put(True)

    def wait(self, wait: Callable[[], None]) -> None:
        self._stepped_back.put(False)
        try:
            wait()
        finally:
            self._ready()
            self._turn.get()


def outside(wait: Callable[[], None]) -> None:
    """Run `wait`, which touches nothing of the engine; the engine goes on meanwhile if this is part of an Aside."""
    aside: Aside[object] | None = getattr(_current, "aside", None)
    if aside is None:
        wait()
    else:
        aside.wait(wait)


class _Worker:
    def __init__(self) -> None:
        self.jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._work, name="aside", daemon=True).start()

    def _work(self) -> None:
        while True:
            self.jobs.get()()


_idle: list[_Worker] = []
"""Threads without a call, since starting one takes longer than most calls."""
