"""The levels as one cache: a lookup goes down until it hits and fills what lies above; a failing level is passed over.

Disk work happens on one thread of its own, so that nothing here makes the event loop wait.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import diskcache
import msgspec

from llmctl.errors import Storage
from llmctl.wire import CacheStats
from llmctld.cache.disk import Disk
from llmctld.cache.level import Level, Meter, Stored
from llmctld.cache.memory import Memory
from llmctld.watch import log

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Stored).decode

FAILURES = (OSError, sqlite3.Error, diskcache.Timeout, msgspec.DecodeError, ValueError)
"""What a level may raise: no room, a damaged file, a lock held too long, another program's entry."""


REOPEN_S = 10.0


class Hit(NamedTuple):
    """A stored answer and where it lay; `age` in seconds."""

    level: str
    answer: Stored
    age: float


class Tiers:
    """Memory before disk. `disk` is made by a callable on the disk's own thread; None leaves it out."""

    def __init__(self, memory: Memory, open_disk: Callable[[], Disk] | None, ttl: float) -> None:
        self.requests = self.joined = 0
        self.saved_s = 0.0
        self._ttl = ttl
        self._memory = memory
        self._disk: Disk | None = None
        self._meters = {"memory": Meter(), "disk": Meter()}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache-disk")
        self._open_disk = open_disk
        self._tried = float("-inf")
        if open_disk is not None:
            self._thread.submit(self._ready_disk)

    def _ready_disk(self) -> Disk | None:
        """On the disk's thread: the level, opened anew now and then while it fails, for its folder may have been removed."""
        failing = self._disk is None or self._meters["disk"].failing
        if failing and self._open_disk is not None and time.monotonic() - self._tried > REOPEN_S:
            self._tried = time.monotonic()
            try:
                self._disk = self._open_disk()
            except FAILURES as error:
                self._fail("disk", error)
        return self._disk

    async def get(self, key: str, max_age: float | None) -> Hit | None:
        """The stored answer if it is younger than `max_age` seconds and than the configured ttl."""
        self.requests += 1
        oldest = min(self._ttl, self._ttl if max_age is None else max_age)
        found = self._look(self._memory, key, oldest)
        if found is None and self._open_disk is not None:
            found = await self._on_disk(lambda disk: self._look(disk, key, oldest), None)
            if found is not None:
                self._memory.put(key, _encode(found.answer), found.answer.model)
        if found is not None:
            self.saved_s += found.answer.seconds
        return found

    async def peek(self, key: str) -> Stored | None:
        """What is stored, without counting or moving anything."""
        values = [self._memory.get(key)]
        if values[0] is None and self._open_disk is not None:
            values.append(await self._on_disk(lambda disk: disk.get(key), None))
        answer = next((_decode(value) for value in values if value is not None), None)
        return None if answer is None or time.time() - answer.created > self._ttl else answer

    async def put(self, key: str, answer: Stored) -> None:
        """Stores on every level. A level that refuses is noted, and the answer is served all the same."""
        value = _encode(answer)
        self._memory.put(key, value, answer.model)
        if self._open_disk is not None:
            await self._on_disk(lambda disk: disk.put(key, value, answer.model), None)

    async def clear(self, model: str | None) -> int:
        """Removes the answers of `model`, or all; the number on the level that held most. Raises Storage."""
        removed = self._memory.clear(model)
        if self._open_disk is None:
            return removed
        on_disk = await self._on_disk(lambda disk: disk.clear(model), None)
        if on_disk is None:
            raise Storage("the answers on disk could not be removed: that level of the cache fails",
                          "`llmctl daemon logs` says why; its folder may be removed while the hub is stopped.")  # fmt: skip
        return max(removed, on_disk)

    async def stats(self) -> CacheStats:
        sizes = {"memory": self._memory.size(), "disk": await self._on_disk(Disk.size, (0, 0))}
        levels = [self._meters[name].report(name, *size) for name, size in sizes.items()]
        hits = sum(level.hits for level in levels)
        rate = round(hits / self.requests, 4) if self.requests else 0.0
        return CacheStats(
            levels=levels, requests=self.requests, hit_rate=rate, joined=self.joined, saved_s=round(self.saved_s, 3)
        )

    async def close(self) -> None:
        """Finishes what is queued for the disk, then closes it."""
        await self._on_disk(Disk.close, None)
        self._thread.shutdown()

    # ---- one level --------------------------------------------------------------------------------------------------

    def _look(self, level: Level, key: str, oldest: float) -> Hit | None:
        meter = self._meters[level.name]
        with meter.lookup():
            value = level.get(key)
        answer = _decode(value) if value is not None else None
        age = max(0.0, time.time() - answer.created) if answer else 0.0
        if answer is None or age > oldest:
            meter.misses += 1
            return None
        meter.hits += 1
        return Hit(level.name, answer, age)

    async def _on_disk(self, work: Callable[[Disk], T], default: T) -> T:
        """`work` on the disk's thread, or `default` when the disk fails."""

        def run() -> T:
            disk = self._ready_disk()
            if disk is None:
                return default
            try:
                result = work(disk)
            except FAILURES as error:
                self._fail("disk", error)
                return default
            self._meters["disk"].failing = False
            return result

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def _fail(self, level: str, error: Exception) -> None:
        meter = self._meters[level]
        meter.errors += 1
        if not meter.failing:
            log.warning("a cache level fails", level=level, error=f"{type(error).__name__}: {error}")
        meter.failing = True
