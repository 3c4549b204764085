"""The contract of a cache level, the form in which an answer is stored, and the figures each level keeps about itself.

A level maps a key to bytes. It does not know what an answer is, nor which other levels there are.
"""

import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec

from llmctl.wire import LevelStats, Sampled, Usage


class Stored(msgspec.Struct, array_like=True):
    """One stored answer. `created` is seconds since 1970, `seconds` what computing it took."""

    model: str
    text: str
    reasoning: str | None
    finish_reason: str
    usage: Usage
    created: float
    seconds: float
    logprobs: list[Sampled] | None = None
    more: list["Stored"] = []
    """The other samples, where several were asked for."""


class Level(Protocol):
    """`get`, `put` and `clear` may be called from one thread at a time; an OSError or sqlite3.Error means: failing."""

    name: str

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, value: bytes, tag: str) -> None: ...

    def clear(self, tag: str | None) -> int:
        """Removes what carries `tag`, or everything; the number of entries."""
        ...

    def size(self) -> tuple[int, int]:
        """(entries, bytes)"""
        ...

    def close(self) -> None: ...


class Meter:
    """Hits, misses, errors and the time of the last lookups of one level."""

    def __init__(self) -> None:
        self.hits = self.misses = self.errors = 0
        self.failing = False
        self._times: deque[float] = deque(maxlen=512)

    @contextmanager
    def lookup(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._times.append(time.perf_counter() - start)

    def report(self, level: str, entries: int, size: int) -> LevelStats:
        p50 = round(statistics.median(self._times) * 1e3, 4) if self._times else None
        state = "failing" if self.failing else "ok"
        return LevelStats(level, self.hits, self.misses, self.errors, entries, size, p50, state)
