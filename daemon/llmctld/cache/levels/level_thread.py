"""A level on a thread of its own, behind a circuit: while it fails it is passed over, and it comes back by itself.

What it could not be made to forget it owes: that is not served from it, and is removed as soon as it works again. It does
not know what an answer is, nor which other levels there are.
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
from llmctld.counters import Counters
from llmctld.watch import log

T = TypeVar("T")
L = TypeVar("L", bound=Level)

FAILURES = (OSError, sqlite3.Error, diskcache.Timeout)
"""What a level raises when it fails: no room, a damaged file, a lock held too long, a server that is gone."""

REOPEN_S = 10.0
REST_S, REST_MAX_S = 1.0, 30.0
OWED = 50_000
"""Keys remembered so. Of more than that a level may serve what is older, should it come back."""
NEWS = 20


class LevelThread(Generic[L]):
    """`open_` makes the level, on the thread's thread; True tells it to look for damage. `limit`: bytes of the largest value.

    `rests`: a level that fails is not asked for REST_S seconds, then for twice as long, up to REST_MAX_S; then it is
    probed, and no request waits for that. Without it every request tries, which costs a local disk nothing.
    `scrap` removes what the level keeps without opening it, and raises OSError: for when it cannot clear itself.
    """

    def __init__(
        self, name: str, open_: Callable[[bool], L], limit: int, repair: bool = False, rests: bool = False,
        scrap: Callable[[], None] | None = None, counters: Counters | None = None,
    ) -> None:  # fmt: skip
        self.name, self.limit = name, limit
        self.meter = Meter(name, Counters() if counters is None else counters)
        self.news: list[str] = []
        """What a user should hear."""
        self.opened: Callable[[], None] = lambda: None
        """Called on the thread's thread each time the level was opened anew."""
        self._open, self._repair, self._rests, self._scrap = open_, repair, rests, scrap
        self._level: L | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"cache-{name}")
        self._tried = self._mended = float("-inf")
        self._failed: set[str] = set()
        """Of "reading", "writing" and "clearing", what does not work."""
        self._owed: dict[str, None] = {}
        self._owes_all = False
        self._rest, self._until = REST_S, 0.0
        self._probing = False

    def start(self) -> None:
        """Opens the level, without waiting for it."""
        self._thread.submit(self._run, lambda level: None, None, "reading", ())

    def read(self, work: Callable[[L], T], default: T) -> "asyncio.Future[T]":
        """`work` on the thread's thread, behind whatever was asked before; `default` where the level fails."""
        return self._ask(work, default, "reading", ())

    def write(self, work: Callable[[L], T], default: T, keys: Iterable[str] = ()) -> "asyncio.Future[T]":
        """As `read`, for what changes the values of `keys`: where it fails, what is there of them no longer counts."""
        return self._ask(work, default, "writing", tuple(keys))

    async def clear(self) -> int | None:
        """The number of entries removed; None where the level fails, which then forgets them when it works again."""
        if self._resting():
            self._owes_all = True
            return None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._clear)

    @property
    def failing(self) -> bool:
        return bool(self._failed)

    def owes(self, key: str) -> bool:
        return self._owes_all or key in self._owed

    async def close(self) -> None:
        """Finishes what is queued, then closes the level."""

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

    # ---- on the thread's thread ---------------------------------------------------------------------------------------

    def _run(self, work: Callable[[L], T], default: T, kind: str, keys: tuple[str, ...], probe: bool = False) -> T:
        if self._rests and self._failed and not probe:  # it failed while this waited
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
        except Exception as error:  # noqa: BLE001 - whatever it is, no request fails for a level
            if not isinstance(error, FAILURES):
                log.error("a cache level raised what it must not", level=self.name, exc_info=True)
            self._owe(keys)
            self._fail(kind, error)
            return default
        self._works(kind)
        return result

    def _clear(self) -> int | None:
        """It pays what is owed, too: what cannot be removed one by one may yet go with everything else."""

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
                self._tried = float("-inf")  # gone it is now, whether or not there is room to begin anew
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
        """The level: opened anew now and then while it fails, and at once where it was removed. Raises FAILURES."""
        if self._level is not None and self._level.lost():
            log.warning("what a cache level kept was removed from outside", level=self.name)
            self._tell(f"what the {self.name} level of the cache kept was removed from outside, and it is begun anew")
            self._repair, self._tried = True, float("-inf")
            self._close()
            self._level = None
        if (self._level is None or self._failed) and time.monotonic() - self._tried > REOPEN_S:
            self._tried = time.monotonic()
            self._close()
            self._level = self._open(self._repair)
            self._repair = False
            if self._level.news is not None:
                self._tell(self._level.news)
            self.opened()
        return self._level

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
            self._tell(f"the {self.name} level of the cache fails and is passed over until it works again: {words}")
        self._failed.add(kind)
        if self._rests:
            self._until = time.monotonic() + self._rest
            self._rest = min(2 * self._rest, REST_MAX_S)
        if type(error) is sqlite3.DatabaseError and time.monotonic() - self._mended > REOPEN_S:
            self._mended = time.monotonic()  # damaged while it was open: looked through, and begun anew if need be
            self._repair, self._tried = True, float("-inf")

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
