"""Runs a level on a thread of its own with a circuit breaker: a failing level is skipped until it works again.

Removals that a failing level missed are remembered: those values are not served, and are removed once it works.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

import diskcache

from llmctld.cache.eviction import Item
from llmctld.cache.level import Level, Meter
from llmctld.runtime.counters import Counters
from llmctld.runtime.log import log
from llmctld.storage.identity import LOST_LOG
from llmctld.storage.loss import LossRule

T = TypeVar("T")
L = TypeVar("L", bound=Level)

FAILURES = (OSError, sqlite3.Error, diskcache.Timeout)
"""What a failing level raises: no space, damage, a lock timeout, a lost connection."""

REOPEN_S = 10.0
REST_S, REST_MAX_S = 1.0, 30.0
OWED = 50_000
"""Limit for remembered removals. Beyond it a level that comes back may serve stale values."""
NEWS = 20


class LevelThread(Generic[L]):
    """`open_` creates the level, on its thread; with True it checks for damage. `limit`: size of the largest value in
    bytes.

    `rests`: a failing level is not used for REST_S seconds, then for twice as long, up to REST_MAX_S; then a probe
    runs, for which no request waits. Without `rests` every request tries, which is cheap for a local disk. `scrap`
    deletes the level's files without opening it, for a level that cannot clear itself; raises OSError.
    """

    def __init__(
        self, name: str, open_: Callable[[bool], L], limit: int, repair: bool = False, rests: bool = False,
        scrap: Callable[[], None] | None = None, counters: Counters | None = None,
    ) -> None:  # fmt: skip
        self.name, self.limit = name, limit
        self.meter = Meter(name, Counters() if counters is None else counters)
        self.news: list[str] = []
        """Notices for the user."""
        self.emptied = False
        """The level lost its files; whoever writes again what other levels have clears this."""
        self._rule = LossRule(
            f"the {name} level of the cache", self._tell, under_way="what memory has is written again"
        )
        self.opened: Callable[[], None] = lambda: None
        """Called on the level's thread after each reopening."""
        self._open, self._repair, self._rests, self._scrap = open_, repair, rests, scrap
        self._level: L | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"cache-{name}")
        self._tried = self._mended = float("-inf")
        self._failed: set[str] = set()
        """Which of "reading", "writing" and "clearing" fail."""
        self._owed: dict[str, None] = {}
        self._owes_all = False
        self._rest, self._until = REST_S, 0.0
        self._probing = False

    def start(self) -> None:
        """Starts to open the level, without waiting."""
        self._thread.submit(self._run, lambda level: None, None, "reading", ())

    def read(self, work: Callable[[L], T], default: T) -> "asyncio.Future[T]":
        """Runs `work` on the level's thread after all earlier work; `default` if the level fails."""
        return self._ask(work, default, "reading", ())

    def write(self, work: Callable[[L], T], default: T, keys: Iterable[str] = ()) -> "asyncio.Future[T]":
        """Like `read`, for changes to the values of `keys`: if it fails, their old values are not served any more."""
        return self._ask(work, default, "writing", tuple(keys))

    async def clear(self) -> int | None:
        """The number of entries removed; None if the level fails, which then removes them when it works again."""
        if self._resting():
            self._owes_all = True
            return None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._clear)

    @property
    def failing(self) -> bool:
        return bool(self._failed)

    def has_pending_removal(self, key: str) -> bool:
        return self._owes_all or key in self._owed

    def look(self) -> None:
        """Notices that the files are lost (storage/watch.py)."""
        level = self._level
        if level is not None and level.lost() is not None:
            self._thread.submit(self._run, lambda level: None, None, "reading", ())

    async def close(self) -> None:
        """Finishes queued work, then closes the level."""

        def close() -> None:
            if self._level is not None:
                self._level.close()

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown()

    # ---- on the event loop ------------------------------------------------------------------------------------------

    def _ask(self, work: Callable[[L], T], default: T, kind: str, keys: tuple[str, ...]) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        if not self._resting():
            return loop.run_in_executor(self._thread, self._run, work, default, kind, keys)
        self._owe(keys)
        told: asyncio.Future[T] = loop.create_future()
        told.set_result(default)
        return told

    def _resting(self) -> bool:
        if not (self._rests and self._failed):
            return False
        if not self._probing and time.monotonic() >= self._until:
            self._probing = True
            self._thread.submit(self._probe)
        return True

    # ---- on the level's thread --------------------------------------------------------------------------------------

    def _run(self, work: Callable[[L], T], default: T, kind: str, keys: tuple[str, ...], probe: bool = False) -> T:
        if self._rests and self._failed and not probe:  # it failed while this work was queued
            self._owe(keys)
            return default
        try:
            level = self._ready()
            if level is None:
                self._owe(keys)
                return default
            if kind == "writing":
                self._pay(level)
            result = work(level)
        except Exception as error:  # noqa: BLE001 - a broken level must not fail a request
            if not isinstance(error, FAILURES):
                log.error("a cache level raised an unexpected error", level=self.name, exc_info=True)
            self._owe(keys)
            self._fail(kind, error)
            return default
        self._works(kind)
        return result

    def _clear(self) -> int | None:
        """Also clears missed removals: what cannot be removed singly may be removed with everything else."""

        def everything(level: L) -> int:
            removed = level.clear()
            self._owes_all = False
            self._owed.clear()
            return removed

        removed: int | None = self._run(everything, None, "clearing", ())
        if removed is None and self._scrap is not None:
            try:
                self._close()
                self._level = None
                self._scrap()
            except OSError as error:
                self._fail("writing", error)
            else:
                self._tried = float("-inf")  # the files are gone, even if there is no space to start anew
                removed = self._run(everything, 0, "clearing", ())
        self._owes_all = removed is None
        return removed

    def _probe(self) -> None:
        nothing: list[str] = []
        try:
            self._run(
                lambda level: level.put("", b"", time.time() + 1, Item(0, 0.0)), nothing, "writing", (), probe=True
            )
        finally:
            self._probing = False

    def _ready(self) -> L | None:
        """The open level. Reopens a failing one from time to time, a removed one at once. Raises FAILURES."""
        if self._level is not None and (happened := self._level.lost()) is not None:
            self._leave(self._level, happened)
        if (self._level is None or self._failed) and time.monotonic() - self._tried > REOPEN_S:
            self._tried = time.monotonic()
            self._close()
            self._level = self._open(self._repair)
            self._repair = False
            if self._level.news is not None:
                self._tell(self._level.news)
            self.opened()
        return self._level

    def _leave(self, level: L, happened: str) -> None:
        """The files are lost: the next use begins new ones."""
        aside = None
        with suppress(*FAILURES):
            aside = level.leave(happened)
        if happened != LOST_LOG:  # whose pages were still in reach
            self._rule.say(happened, self._rule.under_way, aside)
            self.emptied = True
        self._repair, self._tried, self._level = True, float("-inf"), None

    def _close(self) -> None:
        if self._level is not None:
            with suppress(*FAILURES):
                self._level.close()

    def _pay(self, level: L) -> None:
        if self._owes_all:
            level.clear()
            self._owes_all = False
        if self._owed:
            keys = list(self._owed)
            level.delete(keys)
            for key in keys:
                self._owed.pop(key, None)

    def _owe(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._owed[key] = None
        while len(self._owed) > OWED:
            self._owed.pop(next(iter(self._owed)), None)

    def _fail(self, kind: str, error: Exception) -> None:
        words = str(error) or type(error).__name__
        self.meter.fail()
        self.meter.error = words
        if not self._failed:
            log.warning("a cache level fails", level=self.name, error=f"{type(error).__name__}: {error}")
            self._tell(f"the {self.name} level of the cache fails and is skipped until it works again: {words}")
        self._failed.add(kind)
        if self._rests:
            self._until = time.monotonic() + self._rest
            self._rest = min(2 * self._rest, REST_MAX_S)
        if self._level is not None and time.monotonic() - self._mended > REOPEN_S:
            self._set_aside(self._level, error)

    def _set_aside(self, level: L, error: Exception) -> None:
        """If the level is damaged, the next use begins a new one. A check of the database would not find all damage."""
        with suppress(OSError):
            if (news := level.set_aside(error)) is not None:
                self._tell(news)
                self.emptied = True
                self._mended = time.monotonic()
                self._level, self._repair, self._tried = None, False, float("-inf")

    def _works(self, kind: str) -> None:
        if not self._failed:
            return
        self._failed -= {kind} if kind == "reading" else {"reading", "writing", "clearing"}
        if not self._failed:
            self._rest = REST_S
            log.info("a cache level works again", level=self.name)
            self._tell(f"the {self.name} level of the cache works again")
            self.meter.error = None

    def _tell(self, words: str) -> None:
        if len(self.news) < NEWS:
            self.news.append(words)
