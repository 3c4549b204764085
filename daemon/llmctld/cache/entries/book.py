"""The book: metadata of all cache entries in cache.db, including what is remembered of evicted ones.

Does not decide what is kept. It can be rebuilt from the entries on disk, so a damaged file loses nothing.
"""

import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from llmctl.errors import Storage
from llmctl.wire import CacheEntry
from llmctld.cache.entries.selection import EntryFilter
from llmctld.cache.level import Stored
from llmctld.runtime.log import log
from llmctld.storage.connection import DamagedDatabase, Operation, T
from llmctld.storage.loss import LossRule
from llmctld.storage.store import Store

REMEMBERED = 200_000
"""Rows kept of entries that are gone: enough to learn from, below 100 MB."""
WORDS = 200
"""Characters of a prompt stored for `cache ls`."""
BATCH = 500
LATER_HITS = "UPDATE entries SET last_hit = NULL WHERE last_hit > ?"


def _m001_entries(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE entries (
            number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, model TEXT NOT NULL, user TEXT NOT NULL,
            tags TEXT NOT NULL, conversation TEXT, prompt TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL,
            bytes INTEGER NOT NULL, seconds REAL NOT NULL, hits INTEGER NOT NULL DEFAULT 0, last_hit REAL,
            digest BLOB NOT NULL, held INTEGER NOT NULL DEFAULT 1)"""
    )
    connection.execute("CREATE INDEX ends ON entries (expires) WHERE held")
    connection.execute("CREATE INDEX gone ON entries (number) WHERE NOT held")


MIGRATIONS = [_m001_entries]


class EntryRow(NamedTuple):
    """Metadata of one entry. Times are Unix time; `seconds`: time that computing it took.

    `digest`: hash of the normalised answer. `held`: some level has the entry; otherwise only hits and digest are kept.
    """

    key: str
    model: str
    user: str
    tags: list[str]
    conversation: str | None
    prompt: str
    created: float
    expires: float
    size: int
    seconds: float
    digest: bytes
    hits: int = 0
    last_hit: float | None = None
    held: bool = True

    @property
    def used(self) -> float:
        return self.last_hit or self.created


COLUMNS = ", ".join(EntryRow._fields).replace("size", "bytes")
_PUT = (
    "INSERT INTO entries (key, model, user, tags, conversation, prompt, created, expires, bytes, seconds, digest) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET model = excluded.model, "
    "user = excluded.user, tags = excluded.tags, conversation = excluded.conversation, prompt = excluded.prompt, "
    "created = excluded.created, expires = excluded.expires, bytes = excluded.bytes, seconds = excluded.seconds, "
    "digest = excluded.digest, held = 1"
)


def row_of(key: str, answer: Stored, expires: float, size: int) -> EntryRow:
    """`size` in bytes."""
    about = answer.about
    return EntryRow(
        key, answer.first.model, about.user, about.tags, about.conversation, about.prompt[:WORDS], answer.created, expires, size,
        answer.seconds, digest_of(answer),
    )  # fmt: skip


def digest_of(answer: Stored) -> bytes:
    """A hash that ignores case and white space."""
    texts = [" ".join(each.text.casefold().split()) for each in answer.answers]
    return hashlib.blake2b("\0".join(texts).encode("utf-8", "replace"), digest_size=16).digest()


class Book:
    """The database of entries. Constructing it may block on the disk. Writes never fail for the caller; a lost one
    clears `complete`.

    Reads raise Storage.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store: Store | None = None
        self.complete = False
        """Whether the rows match the levels. They are compared at the start."""
        self.news: list[str] = []
        self.when_lost: Callable[[], None] = lambda: None
        """Called on the event loop when the file was begun anew: the entries must be compared with the levels."""
        rebuilt = "it is rebuilt from the stored answers"
        self._rule = LossRule(
            "the index of the cache", self.news.append, rebuilt, rebuilt, self._begun_anew, newer=True
        )
        self._error = "it is not open"
        self.open()

    def open(self) -> None:
        """Opens the file. A damaged one, or one of a newer version, is set aside."""
        if self._store is not None:
            return
        with suppress(OSError):  # the folder may have been removed; if it cannot be created, opening the file fails too
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._store = Store(self._path, MIGRATIONS, rule=self._rule)
        except Storage as error:
            self._error = error.message

    def _begun_anew(self) -> None:
        self.complete = False
        self.when_lost()

    def look(self) -> None:
        """Notices that the file is lost (storage/watch.py)."""
        if self._store is not None:
            self._store.look()

    @property
    def is_open(self) -> bool:
        return self._store is not None

    async def check(self) -> None:
        """Opens the file if it could not be opened before; begins anew if it is damaged."""
        if self._store is None:
            await asyncio.to_thread(self.open)
        try:
            (verdict,) = await self._search("PRAGMA quick_check(1)", (), _first)
        except DamagedDatabase as error:
            verdict = error.message
        if verdict != "ok":
            await self._opened().begin_anew(f"is damaged ({verdict})")

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    # ---- writing ----------------------------------------------------------------------------------------------------

    def put(self, row: EntryRow) -> "asyncio.Future[EntryRow | None]":
        """Stores the row; returns the previous row of the key, also that of an evicted entry."""

        def change(connection: sqlite3.Connection) -> EntryRow | None:
            before = connection.execute(f"SELECT {COLUMNS} FROM entries WHERE key = ?", (row.key,)).fetchone()
            connection.execute(_PUT, _values(row))
            return None if before is None else _row(before)

        return self._write(change, None)

    def put_all(self, rows: Iterable[EntryRow]) -> "asyncio.Future[None]":
        values = [_values(row) for row in rows]
        return self._write(lambda connection: _many(connection, _PUT, values), None)

    def hit(self, hits: Mapping[str, int]) -> "asyncio.Future[None]":
        """Adds to the hit counts of keys, with the current time."""
        now = time.time()
        values = [(count, now, key) for key, count in hits.items()]
        change = "UPDATE entries SET hits = hits + ?, last_hit = ? WHERE key = ?"
        return self._write(lambda connection: _many(connection, change, values), None)

    def mark_gone(self, keys: Iterable[str]) -> "asyncio.Future[None]":
        """No level has these keys any more. Their prompts are deleted, their digests stay."""
        values = [(key,) for key in keys]
        excess = (
            "DELETE FROM entries WHERE number IN (SELECT number FROM entries WHERE NOT held ORDER BY number "
            "LIMIT max(0, (SELECT count(*) FROM entries WHERE NOT held) - ?))"
        )

        def change(connection: sqlite3.Connection) -> None:
            _many(connection, "UPDATE entries SET held = 0, prompt = '' WHERE key = ?", values)
            connection.execute(excess, (REMEMBERED,))

        return self._write(change, None)

    def forget(self, keys: Iterable[str] | None) -> "asyncio.Future[None]":
        """Deletes the rows of `keys`, or all rows."""
        if keys is None:
            return self._write(lambda connection: _many(connection, "DELETE FROM entries", [()]), None)
        values = [(key,) for key in keys]
        return self._write(lambda connection: _many(connection, "DELETE FROM entries WHERE key = ?", values), None)

    async def compact(self) -> None:
        """Gives the disk space of deleted rows back."""
        if self._store is not None:
            await self._store.compact()

    def _write(self, change: Operation[T], lost: T) -> "asyncio.Future[T]":
        """Queues a write. The future is `lost` if it fails."""
        told: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._store is None:
            self.complete = False
            told.set_result(lost)
            return told

        def tell(done: "asyncio.Future[T]") -> None:
            error = done.exception()
            if error is not None:
                if self.complete:
                    log.warning("the index of the cache cannot be written", error=str(error))
                self.complete = False
            if not told.done():
                told.set_result(lost if error is not None else done.result())

        self._store.submit(change).add_done_callback(tell)
        return told

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def row(self, key: str) -> EntryRow | None:
        """The row of a key, also of an evicted entry."""
        rows = await self._read(f"SELECT {COLUMNS} FROM entries WHERE key = ?", (key,), _row)
        return rows[0] if rows else None

    async def held(self) -> list[EntryRow]:
        """All entries that some level has, by last use."""
        return await self._search(
            f"SELECT {COLUMNS} FROM entries WHERE held ORDER BY coalesce(last_hit, created)", (), _row
        )

    async def keys(self, selection: EntryFilter) -> list[str]:
        condition, values = selection.sql()
        return await self._search(f"SELECT key FROM entries WHERE {condition}", values, _first)

    async def keys_with_prefix(self, with_: str) -> list[str]:
        """Up to three keys with this prefix."""
        sql = "SELECT key FROM entries WHERE held AND substr(key, 1, ?) = ? LIMIT 3"
        return await self._search(sql, (len(with_), with_), _first)

    async def entries(self, selection: EntryFilter, after: int, limit: int) -> list[CacheEntry]:
        """Up to `limit` entries with a number above `after`, in the order of insertion."""
        condition, values = selection.sql()
        return await self._search(
            f"SELECT number, {COLUMNS} FROM entries WHERE {condition} AND number > ? ORDER BY number LIMIT ?",
            [*values, after, limit],
            _entry,
        )

    async def entry(self, key: str) -> CacheEntry | None:
        rows = await self._read(f"SELECT number, {COLUMNS} FROM entries WHERE key = ?", (key,), _entry)
        return rows[0] if rows else None

    async def models(self) -> list[str]:
        return await self._search("SELECT DISTINCT model FROM entries WHERE held", (), _first)

    async def expired(self, now: float) -> list[str]:
        """Keys of entries that expired before `now`."""
        return await self._search("SELECT key FROM entries WHERE held AND expires <= ? LIMIT ?", (now, BATCH), _first)

    async def created_after(self, now: float) -> list[str]:
        """Keys of entries with a later date than `now`. Later hits count as none: such an entry would look new for years."""
        self._write(lambda connection: _many(connection, LATER_HITS, [(now,)]), None)
        return await self._search("SELECT key FROM entries WHERE held AND created > ? LIMIT ?", (now, BATCH), _first)

    async def _read(self, sql: str, values: Sequence[Any], make: Callable[[tuple[Any, ...]], T]) -> list[T]:
        """The rows of a short query, converted by `make`."""
        return [make(row) for row in await self._opened().read(sql, values)]

    async def _search(self, sql: str, values: Sequence[Any], make: Callable[[tuple[Any, ...]], T]) -> list[T]:
        """Like `_read`, for long queries; rows are converted on the store's thread, since there may be 100,000."""
        return await self._opened().query(lambda connection: [make(row) for row in connection.execute(sql, values)])

    def _opened(self) -> Store:
        if self._store is None:
            hint = f"Correct that, or move {self._path.name} away; it is rebuilt from the stored answers."
            raise Storage(f"the index of the cache cannot be read: {self._error}", hint)
        return self._store


def _first(values: tuple[Any, ...]) -> Any:
    return values[0]


def _entry(values: tuple[Any, ...]) -> CacheEntry:
    number, row = values[0], _row(values[1:])
    return CacheEntry(
        number=number, key=row.key, model=row.model, user=row.user, tags=row.tags, conversation=row.conversation,
        created=row.created, expires=row.expires, bytes=row.size, seconds=row.seconds, hits=row.hits,
        last_hit=row.last_hit, prompt=row.prompt,
    )  # fmt: skip


def _row(values: tuple[Any, ...]) -> EntryRow:
    row = EntryRow(*values)
    tags: list[str] = []
    with suppress(ValueError, TypeError):
        tags = json.loads(values[3])
    return row._replace(tags=tags, held=bool(row.held))


def _values(row: EntryRow) -> tuple[Any, ...]:
    return (*row[:3], json.dumps(row.tags), *row[4:11])


def _many(connection: sqlite3.Connection, sql: str, values: Sequence[tuple[Any, ...]]) -> None:
    connection.executemany(sql, values)
