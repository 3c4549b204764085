"""Keeps the book in step with the levels, in the background: hit counts in batches, evicted entries, expired entries.

No request waits for it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from llmctl.errors import Storage
from llmctld.cache.entries.book import Book, EntryRow, row_of
from llmctld.cache.eviction import Item
from llmctld.cache.level import SKEW_S
from llmctld.cache.levels.answers import Seen, decode, look
from llmctld.cache.levels.disk import DiskLevel, Held
from llmctld.cache.levels.generations import Generations
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.cache.levels.memory import MemoryLevel
from llmctld.runtime.log import log
from llmctld.runtime.timeouts import timeout

TICK_S = 1.0
"""Changes within this time are written together."""
SWEEP_S = 60.0
BATCH = 200
"""Entries per job of a level, which bounds how long lookups wait behind it."""


class Maintenance:
    """`gone` is called on the event loop with keys that no level has any more."""

    def __init__(
        self,
        memory: MemoryLevel,
        threads: Sequence[LevelThread[Any]],
        book: Book,
        generations: Generations,
        gone: Callable[[Sequence[str]], None],
    ) -> None:
        self._memory, self._threads, self._book = memory, threads, book
        self._disk: LevelThread[DiskLevel] | None = next(
            (thread for thread in threads if thread.name == DiskLevel.name), None
        )
        self._generations, self._gone = generations, gone
        self._hits: dict[str, int] = {}
        self._left: dict[str, None] = {}
        """Keys evicted from some level; the next round checks whether another level has them."""
        self._stir, self._turn = asyncio.Event(), asyncio.Lock()
        self._compare, self._swept = True, float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        """The last round's error."""

    def start(self) -> None:
        """Needs a running event loop."""
        loop = asyncio.get_running_loop()

        def opened() -> None:
            with suppress(RuntimeError):  # the event loop has ended
                loop.call_soon_threadsafe(self._again)

        if self._disk is not None:
            self._disk.opened = opened
        self._book.when_lost = self._again
        self._task = loop.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            with suppress(Storage):
                await self.round()

    def hit(self, key: str) -> None:
        """Counts a hit. On the path of every hit: a dict update and a flag."""
        self._hits[key] = self._hits.get(key, 0) + 1
        self._stir.set()

    def leaving(self, keys: Iterable[str]) -> None:
        """Some level no longer has these keys."""
        for key in keys:
            self.lost(key)
            self._stir.set()

    def lost(self, key: str) -> None:
        """Like `leaving`, from any thread."""
        self._left[key] = None

    def _again(self) -> None:
        self._compare = True
        self._stir.set()

    async def _run(self) -> None:
        while True:
            try:
                await self.round()
                self._trouble = ""
            except Storage as error:  # retried later, and logged once until then
                if error.message != self._trouble:
                    log.warning("the index of the cache cannot be updated", error=error.message)
                self._trouble = error.message
            except Exception:  # noqa: BLE001 - a failed round must not end the loop
                log.error("the index of the cache was not updated", exc_info=True)
            with suppress(asyncio.TimeoutError):
                async with timeout(SWEEP_S):
                    await self._stir.wait()
            await asyncio.sleep(TICK_S)

    async def mend(self) -> None:
        """Reopens the book if it could not be opened. Raises Storage."""
        self._compare = True
        await self.round()

    async def round(self) -> None:
        """Writes pending changes; removes entries that were evicted or have expired. Raises Storage."""
        async with self._turn:
            await self._round()

    async def _round(self) -> None:
        self._stir.clear()
        hits, self._hits = self._hits, {}
        if hits:
            self._book.hit(hits)
            if self._disk is not None:
                self._disk.read(lambda disk: disk.hit(hits), None)
        sweep = time.monotonic() - self._swept > SWEEP_S
        if self._compare or (sweep and not self._book.complete):
            await self._compare_with_the_book()
        if sweep:
            self._swept = time.monotonic()
            await self._sweep()
        left, self._left = list(self._left), {}
        for first in range(0, len(left), BATCH):
            await self._see_off(left[first : first + BATCH])

    async def _sweep(self) -> None:
        none: list[str] = []
        self.leaving(self._memory.sweep())
        if self._disk is not None:  # as a read: a removal of nothing does not prove that the level can write
            self.leaving(await self._disk.read(DiskLevel.sweep, none))
        with suppress(Storage):
            self.leaving(await self._book.expired(time.time()))
            await self._remove(await self._book.created_after(time.time() + SKEW_S))

    async def _remove(self, keys: Sequence[str]) -> None:
        """Removes entries that were stored while the clock was wrong: they would expire in as many years as it was ahead."""
        if not keys:
            return
        self._memory.delete(keys)
        for thread in self._threads:
            await thread.write(lambda level: level.delete(keys), 0, keys)
        self.leaving(keys)
        log.warning("stored answers of the future were removed: the clock was set back", entries=len(keys))

    async def _see_off(self, keys: Sequence[str]) -> None:
        """Marks those of `keys` that no level has as gone, unless they were stored again."""
        with ExitStack() as looks:
            unchanged = {key: looks.enter_context(self._generations.looking(key)) for key in keys}
            remaining = set(keys) - self._memory.exists(keys)
            for thread in self._threads:
                asked = list(remaining)  # a failing level may have all of them
                remaining -= await thread.read(lambda level: level.exists(asked), set(asked))  # noqa: B023 - awaited here
            gone = [key for key in remaining if unchanged[key]()]
        if gone:
            self._book.mark_gone(gone)
            self._gone(gone)

    # ---- the book and the disk --------------------------------------------------------------------------------------

    async def _compare_with_the_book(self) -> None:
        """Afterwards the book has a row for each entry, the disk level's policy knows its entries, and other rows are
        marked as gone.
        """
        self._compare = False
        await self._book.check()
        rows, held = await self._book.held(), list[Held]()
        await self._write_down_memory({row.key for row in rows})
        if self._disk is not None:
            found = await self._disk.read(lambda disk: disk.held(), None)
            if found is None:
                return  # the comparison runs when the level can be opened
            held = found
            if self._disk.emptied and await self._write_memory_again(self._disk, {entry.key for entry in held}):
                held = await self._disk.read(lambda disk: disk.held(), held)
        compared = await asyncio.to_thread(_compare, rows, held)
        if self._disk is not None:
            items = await self._write_down(self._disk, compared.strangers) | compared.items
            none: list[str] = []
            self.leaving(await self._disk.read(lambda disk: disk.load_policy(items), none))
        self._book.complete = True
        self.leaving(compared.vanished)

    async def _write_down_memory(self, known: Set[str]) -> None:
        """Adds rows for the memory level's entries if the book was recreated while the hub ran."""
        unknown = {key: found for key, found in self._memory.held().items() if key not in known}
        made = await asyncio.to_thread(
            lambda: [
                row_of(key, decode(found.value), found.expires, len(found.value)) for key, found in unknown.items()
            ]
        )
        if made:
            await self._book.put_all(made)
            self.leaving(unknown)  # in case one was removed meanwhile

    async def _write_memory_again(self, disk: LevelThread[DiskLevel], held: Set[str]) -> int:
        """The disk level lost its files: it gets what memory has. Returns the number of entries."""
        disk.emptied, written = False, 0
        for key in self._memory.held().keys() - held:
            found = self._memory.peek(
                key
            )  # it may have been removed meanwhile; a later removal comes later on disk too
            if found is None:
                continue
            (value, expires), item = found, Item(len(found.value), decode(found.value).seconds)
            self.leaving(await disk.write(lambda level: level.put(key, value, expires, item), [key], [key]))  # noqa: B023 - awaited here
            written += 1
        return written

    async def _write_down(self, disk: LevelThread[DiskLevel], strangers: Sequence[Held]) -> dict[str, Item]:
        """Adds rows for entries without one; returns their eviction data."""
        items: dict[str, Item] = {}
        for first in range(0, len(strangers), BATCH):
            batch = strangers[first : first + BATCH]
            made = [
                row_of(entry.key, seen.answer, entry.expires, entry.size)
                for entry, seen in zip(batch, await self._read_all(disk, batch), strict=False)
                if seen.answer is not None
            ]
            await self._book.put_all(made)
            items |= {row.key: Item(row.size, row.seconds) for row in made}
        if items:
            log.info("stored answers were added to the index of the cache", entries=len(items))
            self.leaving(items)  # in case one was removed meanwhile
        return items

    def _read_all(self, disk: LevelThread[DiskLevel], batch: Sequence[Held]) -> "asyncio.Future[list[Seen]]":
        looks = [look(disk, entry.key, self.lost, counts=False) for entry in batch]
        nothing: list[Seen] = []
        return disk.read(lambda level: [each(level) for each in looks], nothing)


class Compared(NamedTuple):
    """`items`: eviction data in order of last use; `strangers`: entries without a row; `vanished`: rows without an
    entry on disk.
    """

    items: dict[str, Item]
    strangers: list[Held]
    vanished: list[str]


def _compare(rows: Sequence[EntryRow], held: Sequence[Held]) -> Compared:
    known, there = {row.key for row in rows}, {entry.key for entry in held}
    return Compared(
        {row.key: Item(row.size, row.seconds, row.hits) for row in rows},
        [entry for entry in held if entry.key not in known],
        [row.key for row in rows if row.key not in there],
    )
