"""What levels and book tell each other in the background: hits, in batches; what left every level; what has ended.

Nobody waits for it. It does not know what is asked of the cache.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from llmctl.errors import Storage
from llmctld.cache.entries.book import Book, EntryRow, row_of
from llmctld.cache.eviction import Item
from llmctld.cache.levels.answers import Seen, decode, look
from llmctld.cache.levels.disk import DiskLevel, Held
from llmctld.cache.levels.generations import Generations
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.cache.levels.memory import MemoryLevel
from llmctld.watch import log

TICK_S = 1.0
"""What is noted in this time is written down together."""
SWEEP_S = 60.0
BATCH = 200
"""Entries in one piece of work for a level: what is asked of it meanwhile waits no longer than that takes."""


class Maintenance:
    """`gone` is called on the event loop with the keys that no level holds any more."""

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
        """Keys that some level has put out: whether another holds them is asked in the next round."""
        self._stir, self._turn = asyncio.Event(), asyncio.Lock()
        self._compare, self._swept = True, float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        """What the last round failed with."""

    def start(self) -> None:
        """Needs a running loop."""
        loop = asyncio.get_running_loop()

        def opened() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._again)

        if self._disk is not None:
            self._disk.opened = opened
        self._task = loop.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            with suppress(Storage):
                await self.round()

    def hit(self, key: str) -> None:
        """On the path of every hit: a dict and a flag."""
        self._hits[key] = self._hits.get(key, 0) + 1
        self._stir.set()

    def leaving(self, keys: Iterable[str]) -> None:
        """Some level does not hold them any more."""
        for key in keys:
            self.lost(key)
            self._stir.set()

    def lost(self, key: str) -> None:
        """As `leaving`, from any thread, and without hurry."""
        self._left[key] = None

    def _again(self) -> None:
        self._compare = True
        self._stir.set()

    async def _run(self) -> None:
        while True:
            try:
                await self.round()
                self._trouble = ""
            except Storage as error:  # it is tried again; until then it is said once
                if error.message != self._trouble:
                    log.warning("the book of the cache cannot be kept", error=error.message)
                self._trouble = error.message
            except Exception:  # noqa: BLE001 - what is noted late is no reason to note nothing any more
                log.error("the book of the cache was not kept", exc_info=True)
            with suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._stir.wait(), SWEEP_S)
            await asyncio.sleep(TICK_S)

    async def mend(self) -> None:
        """Opens the book again, where it could not be opened. Raises Storage."""
        self._compare = True
        await self.round()

    async def round(self) -> None:
        """Writes down what was noted, and sees off what left and what ended. Raises Storage."""
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
        if self._compare or self._book.lost() or (sweep and not self._book.complete):
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
        if (
            self._disk is not None
        ):  # asked as reading: where there is nothing to remove, it proves nothing about writing
            self.leaving(await self._disk.read(DiskLevel.sweep, none))
        with suppress(Storage):
            self.leaving(await self._book.expired(time.time()))

    async def _see_off(self, keys: Sequence[str]) -> None:
        """Those of `keys` that no level holds are gone, unless they come back meanwhile."""
        with ExitStack() as looks:
            unchanged = {key: looks.enter_context(self._generations.looking(key)) for key in keys}
            remaining = set(keys) - self._memory.exists(keys)
            for thread in self._threads:
                asked = list(remaining)  # a level that fails may hold them all
                remaining -= await thread.read(lambda level: level.exists(asked), set(asked))  # noqa: B023 - awaited here
            gone = [key for key in remaining if unchanged[key]()]
        if gone:
            self._book.gone(gone)
            self._gone(gone)

    # ---- the book and the disk --------------------------------------------------------------------------------------

    async def _compare_with_the_book(self) -> None:
        """After this the book has a row for each entry, the disk knows the worth of its own, and the rest is seen off."""
        self._compare = False
        await self._book.check()
        rows, held = await self._book.held(), list[Held]()
        await self._write_down_memory({row.key for row in rows})
        if self._disk is not None:
            found = await self._disk.read(lambda disk: disk.held(), None)
            if found is None:
                return  # it is compared when it can be opened
            held = found
        compared = await asyncio.to_thread(_compare, rows, held)
        if self._disk is not None:
            items = await self._write_down(self._disk, compared.strangers) | compared.items
            none: list[str] = []
            self.leaving(await self._disk.read(lambda disk: disk.tell(items), none))
        self._book.complete = True
        self.leaving(compared.vanished)

    async def _write_down_memory(self, known: Set[str]) -> None:
        """Rows of what is in memory, where the book was begun anew while the hub ran."""
        unknown = {key: found for key, found in self._memory.held().items() if key not in known}
        made = await asyncio.to_thread(
            lambda: [
                row_of(key, decode(found.value), found.expires, len(found.value)) for key, found in unknown.items()
            ]
        )
        if made:
            await self._book.put_all(made)
            self.leaving(unknown)  # should one have been removed meanwhile

    async def _write_down(self, disk: LevelThread[DiskLevel], strangers: Sequence[Held]) -> dict[str, Item]:
        """Makes rows of entries that have none, and returns what they are worth."""
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
            log.info("entries of the cache were written into its book", entries=len(items))
            self.leaving(items)  # should one have been removed meanwhile
        return items

    def _read_all(self, disk: LevelThread[DiskLevel], batch: Sequence[Held]) -> "asyncio.Future[list[Seen]]":
        looks = [look(disk, entry.key, self.lost, counts=False) for entry in batch]
        nothing: list[Seen] = []
        return disk.read(lambda level: [each(level) for each in looks], nothing)


class Compared(NamedTuple):
    """`items`: what is worth what, in the order of last use; `strangers` are in no row, `vanished` on no disk."""

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
