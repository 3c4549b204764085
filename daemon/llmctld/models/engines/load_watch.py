"""Ends the wait for a load that makes no progress: nothing is read, and no memory is filled.

It reads the counters of the engine and its child processes. It does not know what an engine does during a load.
"""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import psutil

T = TypeVar("T")

STEP_BYTES = 2**20
"""Fewer bytes are no progress: a process that waits or runs in circles still reads a little."""
LONGEST_PAUSE_S = 5.0


class NoProgressError(Exception):
    """`read`: bytes that the engine and its child processes have read. `filled`: their memory in bytes."""

    def __init__(self, seconds: float, read: int, filled: int) -> None:
        super().__init__(f"no progress for {seconds:.0f} s")
        self.read, self.filled = read, filled


class Counters(NamedTuple):
    """Of one process, in bytes. `read`: by calls and by page faults. `filled`: memory, mapped files included."""

    read: int
    filled: int

    def is_beyond(self, mark: "Counters") -> bool:
        return self.read >= mark.read + STEP_BYTES or self.filled >= mark.filled + STEP_BYTES


async def with_progress(work: Coroutine[Any, Any, T], pid: int, limit_s: float) -> T:
    """The result of `work`. Raises NoProgressError once process `pid` has made no progress for `limit_s`."""
    task = asyncio.ensure_future(work)
    marks: dict[int, Counters] = {}
    since = time.monotonic()
    try:
        while True:
            await asyncio.wait({task}, timeout=min(LONGEST_PAUSE_S, limit_s / 10))
            if task.done():
                return task.result()
            counters = await asyncio.to_thread(counters_of, pid)
            if advance(marks, counters):
                since = time.monotonic()
            elif time.monotonic() - since >= limit_s:
                read, filled = (sum(each) for each in zip(*counters.values(), strict=True)) if counters else (0, 0)
                raise NoProgressError(limit_s, read, filled)
    finally:
        task.cancel()


def advance(marks: dict[int, Counters], counters: dict[int, Counters]) -> bool:
    """Moves the marks of the processes that made progress, which is beyond their mark; True if one did.

    Memory that is freed and filled again is no progress.
    """
    moved = {pid: now for pid, now in counters.items() if now.is_beyond(marks.get(pid, Counters(0, 0)))}
    for pid, now in moved.items():
        mark = marks.get(pid, now)
        marks[pid] = Counters(max(now.read, mark.read), max(now.filled, mark.filled))
    return bool(moved)


def counters_of(pid: int) -> dict[int, Counters]:
    """The counters of a process and its descendants, by process."""
    found: dict[int, Counters] = {}
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                found[each.pid] = Counters(_read(each), int(each.memory_info().rss))
    return found


def _read(process: psutil.Process) -> int:
    """0 where the system does not count (macOS): there, memory alone shows progress."""
    if not hasattr(process, "io_counters"):
        return 0
    counted = process.io_counters()
    return int(counted.read_bytes) + int(getattr(counted, "read_chars", 0))
