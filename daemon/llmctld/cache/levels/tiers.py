"""The cache made of all levels: a lookup goes from memory down to the first hit and copies it upward; failing levels
are skipped.

Every level but memory runs on a thread of its own, so nothing here blocks the event loop.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from llmctl.errors import Storage
from llmctld.cache.entries.book import Book, EntryRow, row_of
from llmctld.cache.entries.context import groups_of
from llmctld.cache.entries.selection import EntryFilter
from llmctld.cache.eviction import Item
from llmctld.cache.expiry import Expiry, FixedExpiry
from llmctld.cache.level import SKEW_S, About, CachedValue, Meter, Stored
from llmctld.cache.levels.answers import Seen, decode, encode, look
from llmctld.cache.levels.disk import DiskLevel
from llmctld.cache.levels.generations import Generations
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.cache.levels.levels import NOWHERE, Levels
from llmctld.cache.levels.maintenance import Maintenance
from llmctld.cache.levels.memory import MemoryLevel
from llmctld.cache.levels.report import Report
from llmctld.runtime.counters import Counters
from llmctld.storage.watch import Watched

T = TypeVar("T")

YOUNG_S = 60.0
"""Younger answers have no age limit: no prediction is shorter, and most hits are this young."""


class Hit(NamedTuple):
    """A stored answer and its level; `age` in seconds."""

    level: str
    answer: Stored
    age: float


class Put(NamedTuple):
    """The result of storing an answer. `taken`: some level accepted it. `notice`: for the user."""

    taken: bool
    notice: str | None = None


class Newsworthy(Protocol):
    """A source of notices for the next user."""

    news: list[str]


class Tiers:
    """The memory level, then the others in order. `ttl`: seconds that every answer is served; None: as `expiry` says.

    Without `book` there is no metadata. `worth`: cost of computing an answer again, in seconds or an equivalent;
    `price`: the same in money, None if its model has no price.
    `start` begins the background work.
    """

    def __init__(
        self,
        memory: MemoryLevel,
        threads: Sequence[LevelThread[Any]] = (),
        ttl: float | None = None,
        book: Book | None = None,
        expiry: Expiry | None = None,
        worth: Callable[[Stored], float] = lambda answer: answer.seconds,
        price: Callable[[Stored], float | None] = lambda answer: None,
        counters: Counters | None = None,
    ) -> None:
        counters = Counters() if counters is None else counters
        self._requests, self._joined = counters.counter("cache_requests"), counters.counter("cache_joined")
        self._saved_s = counters.counter("cache_saved_seconds")
        self._saved_cost, self._priced = counters.counter("cache_saved_cost"), counters.counter("cache_priced_hits")
        self.book = book
        self._expiry: Expiry = FixedExpiry() if expiry is None else expiry
        self._worth, self._price = worth, price
        self.reuse = self._expiry.reuse
        """Receives each request's groups."""
        self._ttl = ttl
        self._oldest = float("inf") if ttl is None else ttl
        self._levels = Levels(memory, threads, Meter(MemoryLevel.name, counters), self._lost)
        self._memory, self._threads, self._meter = memory, self._levels.threads, self._levels.meter
        self.report = Report(self._levels, counters, self._expiry, self.peek)
        self._news: list[Newsworthy] = [*self._threads, *([book] if book is not None else []), self._expiry]
        self._when_gone: list[Callable[[Sequence[str]], None]] = []
        self._generations = Generations()
        self._maintenance: Maintenance | None = None
        if book is not None:
            self._maintenance = Maintenance(memory, self._threads, book, self._generations, self._call_gone)
        self._tasks: set[asyncio.Task[Any]] = set()
        for thread in self._threads:
            thread.start()

    def start(self) -> None:
        """Needs a running event loop. Compares book and levels, then starts the background work."""
        if self._maintenance is not None:
            self._maintenance.start()

    # ---- hooks of other parts ---------------------------------------------------------------------------------------

    def when_gone(self, tell: Callable[[Sequence[str]], None]) -> None:
        """`tell` is called on the event loop with keys that no level has any more, or only memory."""
        self._when_gone.append(tell)

    def add_news(self, source: Newsworthy) -> None:
        """Adds a source of notices for the next user."""
        self._news.append(source)

    def stores(self) -> list[Watched]:
        """What the hub's watch looks at."""
        return [*self._threads, *([] if self.book is None else [self.book])]

    def joined(self) -> None:
        """A request joined an equal one in flight."""
        self._joined.add()

    def saved(self, answer: Stored) -> None:
        """A stored answer was served."""
        self._saved_s.add(answer.seconds)
        if (cost := self._price(answer)) is not None:
            self._saved_cost.add(cost)
            self._priced.add()

    async def round(self) -> None:
        """Writes pending changes, and removes entries that were evicted."""
        if self._maintenance is not None:
            await self._maintenance.round()

    # ---- used by the pipeline ---------------------------------------------------------------------------------------

    async def get(self, key: str, max_age: float | None) -> Hit | None:
        """The stored answer if it has not expired and is no older than `max_age` seconds and the configured ttl."""
        self._requests.add()
        oldest = self._oldest if max_age is None else min(self._oldest, max_age)
        hit = self._in_memory(key, oldest)
        if hit is None and self._threads:
            hit = await self._below(key, oldest)
        if hit is not None:
            self.saved(hit.answer)
            if self._maintenance is not None:
                self._maintenance.hit(key)
        return hit

    async def peek(self, key: str) -> Stored | None:
        """The stored answer if it has not expired. Does not count as use; copies nothing."""
        return (await self._seen(key)).answer

    async def expires(self, key: str) -> float | None:
        """Expiry of the stored answer in Unix time, None without one. Does not count as use."""
        seen = await self._seen(key)
        if seen.answer is None:
            return None
        return min(seen.found.expires, seen.answer.created + min(self._oldest, self._expiry.limit(key, seen.answer)))

    async def _seen(self, key: str) -> Seen:
        seen = await self._levels.peek(key)
        return NOWHERE if seen.answer is None or self._hit("", key, seen.answer, self._oldest) is None else seen

    async def put(self, key: str, answer: Stored, about: About | None = None) -> Put:
        """Stores the answer on every level. A failing level is skipped."""
        if about is not None:
            answer = msgspec.structs.replace(answer, about=about)
        value = encode(answer)
        largest = self._levels.limit
        if not largest:
            return Put(False)  # the cache is disabled
        before = await self._known(key)
        if before is not None and before.created != answer.created:
            self._expiry.recomputed(before, answer)
        expires = answer.created + (self._ttl if self._ttl is not None else self._expiry.lifetime(key, answer))
        if len(value) > largest:
            await self.delete([key])  # the answer stored before is no longer valid
            told = (
                f"the answer was not stored: it has {len(value)} bytes, and no cache level accepts more than {largest}"
            )
            return Put(False, told)
        self._generations.next(key)
        hits = 0 if before is None else before.hits
        return Put(await self._store(key, answer, CachedValue(value, expires), self._threads, hits))

    async def delete(self, keys: Sequence[str]) -> int:
        """Removes `keys` from all levels; the number on the level that had most."""
        for key in keys:
            self._generations.next(key)
        removed = await self._levels.delete(keys)
        if self.book is not None:
            self.book.forget(keys)
        self._call_gone(keys)
        return removed

    async def keys(self) -> set[str] | None:
        """Keys of all entries; None if not known, or not yet. Raises Storage."""
        if self.book is None or not self.book.complete:
            return None
        return set(await self.book.keys(EntryFilter()))

    async def clear(self, selection: EntryFilter | None = None) -> int:
        """Removes all answers, or those selected by `selection`; their number. Raises Storage if a level keeps some."""
        if selection is not None and not selection.everything:
            removed = await self.delete(await (await self.open_book()).keys(selection))
            keeping = self._levels.failing()
        else:
            keys = []
            if self.book is not None:
                with suppress(Storage):
                    keys = await self.book.keys(EntryFilter())
            self._generations.next_of_all()
            removed, keeping = await self._levels.clear()
            if self.book is not None:
                await self.book.forget(None)
                await self.book.compact()
            self._call_gone(keys)
            removed = max(len(keys), removed)
        if keeping:
            raise Storage(
                f"the answers on {' and '.join(keeping)} cannot be removed: the cache level fails",
                "They are no longer served, and are removed when the level works again. `llmctl daemon logs` shows why it fails.",
            )
        return removed

    def news(self) -> list[str]:
        """Notices for the next user: failing and recovered levels, replaced databases."""
        told = []
        for source in self._news:
            taken = source.news[:]  # a store's thread may add another meanwhile
            del source.news[: len(taken)]
            told += taken
        return told

    @property
    def required_book(self) -> Book:
        """The book. Raises Storage if there is none."""
        if self.book is None:
            raise Storage("this cache has no index")
        return self.book

    async def open_book(self) -> Book:
        """The book, reopened if it could not be opened before. Raises Storage if there is none."""
        book = self.required_book
        if self._maintenance is not None and not book.is_open:
            with suppress(Storage):  # the read reports the reason
                await self._maintenance.mend()
        return book

    async def close(self) -> None:
        """Finishes pending work, then closes the levels."""
        if self._maintenance is not None:
            await self._maintenance.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._levels.close()
        if self.book is not None:
            await asyncio.to_thread(self.book.close)

    # ---- the levels -------------------------------------------------------------------------------------------------

    def _in_memory(self, key: str, oldest: float) -> Hit | None:
        with self._meter.lookup():
            found = self._memory.get(key)
        hit = None if found is None else self._hit(MemoryLevel.name, key, decode(found.value), oldest)
        self._meter.count(hit is not None)
        return hit

    def _hit(self, level: str, key: str, answer: Stored, oldest: float) -> Hit | None:
        age = time.time() - answer.created
        if age < -SKEW_S:
            return None  # stored while the clock was wrong: its age is not known
        age = max(0.0, age)
        over = age > oldest or (age > YOUNG_S and age > self._expiry.limit(key, answer))
        return None if over else Hit(level, answer, age)

    async def _below(self, key: str, oldest: float) -> Hit | None:
        with self._generations.looking(key) as unchanged:
            for depth, thread in enumerate(self._threads):
                seen = await thread.read(look(thread, key, self._lost), None)
                if seen is None:
                    continue  # the level fails
                hit = None if seen.answer is None else self._hit(thread.name, key, seen.answer, oldest)
                thread.meter.count(hit is not None)
                if hit is not None:
                    if unchanged():
                        self._store(
                            key, hit.answer, seen.found, self._threads[:depth], known=thread.name == DiskLevel.name
                        )
                    return hit
        return None

    async def _known(self, key: str) -> EntryRow | None:
        """Metadata of a key, also of an evicted entry."""
        with suppress(Storage):
            return None if self.book is None else await self.book.row(key)
        return None

    def _store(
        self,
        key: str,
        answer: Stored,
        found: CachedValue,
        threads: Sequence[LevelThread[Any]],
        hits: int = 0,
        known: bool = False,
    ) -> "asyncio.Task[bool]":
        """Stores a value with its expiry in memory and on `threads`; whether one level accepted it.

        When this returns, memory has it and it is queued on each level, so a later removal comes later everywhere.
        `known`: the book has the entry. `hits`: earlier hits.
        """
        (value, expires), about = found, answer.about
        context = self.reuse.importance(groups_of(about.user, about.conversation, about.template))
        item = Item(len(value), self._worth(answer), hits, context)
        displaced = self._memory.put(key, value, expires, item)
        self._leaving(displaced)
        if self.book is not None and not known:
            self.book.put(row_of(key, answer, expires, len(value)))
        doing = [thread.write(lambda level: level.put(key, value, expires, item), [key], [key]) for thread in threads]

        async def finish() -> bool:
            outs = await asyncio.gather(*doing)
            for out in outs:
                self._leaving(out)
            return not all(key in out for out in (displaced, *outs))

        return self._spawn(finish())

    def _leaving(self, keys: Sequence[str]) -> None:
        if self._maintenance is not None:
            self._maintenance.leaving(keys)

    def _lost(self, key: str) -> None:
        if self._maintenance is not None:
            self._maintenance.lost(key)

    def _call_gone(self, keys: Sequence[str]) -> None:
        if keys:
            for tell in self._when_gone:
                tell(keys)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
