"""The stored questions: texts, vectors, hits and verdicts in semantic.db, and a vector index beside it.

The database is authoritative: an index that lacks questions, or has too many, is repaired from it. One folder belongs to one
embedding model. Verdicts are stored here, and made elsewhere.
"""

import asyncio
import hashlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from llmctl.errors import Storage
from llmctld.runtime.log import log
from llmctld.semantic.words.fold import fold
from llmctld.storage.loss import LossRule
from llmctld.storage.store import Store
from llmctld.vectors.index import Vectors

T = TypeVar("T")
FLOAT_BYTES = 4
PAGE = 5000
"""Vectors read at a time for a repair of the index: 8 MB."""


def _m001_entries(connection: sqlite3.Connection) -> None:
    """AUTOINCREMENT: a number is never used twice, or an index that was not saved would lead to another question."""
    connection.execute(
        """CREATE TABLE entries (
            number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, wall TEXT NOT NULL, text TEXT NOT NULL,
            answer TEXT NOT NULL, vector BLOB NOT NULL, at REAL NOT NULL,
            same INTEGER NOT NULL DEFAULT 0, different INTEGER NOT NULL DEFAULT 0)"""
    )
    connection.execute("CREATE INDEX walls ON entries (wall)")
    connection.execute(
        """CREATE TABLE served (
            number INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, entry INTEGER NOT NULL, key TEXT NOT NULL,
            at REAL NOT NULL, similarity REAL NOT NULL, pair BLOB NOT NULL, verdict TEXT)"""
    )
    connection.execute("CREATE INDEX served_from ON served (key)")
    connection.execute("CREATE TABLE kept (name TEXT PRIMARY KEY, value BLOB NOT NULL)")


def _m002_undone(connection: sqlite3.Connection) -> None:
    """Questions whose hits a user undid: they are not stored again."""
    connection.execute("CREATE TABLE undone (key TEXT PRIMARY KEY, at REAL NOT NULL)")


MIGRATIONS = [_m001_entries, _m002_undone]


class StoredQuestion(NamedTuple):
    """`answer` is equal for questions with the same answer. `same` and `different` count verified pairs with this one."""

    number: int
    key: str
    wall: str
    text: str
    answer: str
    at: float
    same: int
    different: int


class SemanticHit(NamedTuple):
    """`pair` has the pair and the decision (`packed`). `verdict` is same, different or undone, None without one."""

    request: str
    entry: int
    key: str
    at: float
    similarity: float
    pair: bytes
    verdict: str | None


_ENTRY = "number, key, wall, text, answer, at, same, different"
_SERVED = "request, entry, key, at, similarity, pair, verdict"


class Entries:
    """Vectors have `dimension` numbers, float32, little endian, and length 1. Every method may raise Storage."""

    def __init__(self, folder: Path, dimension: int, news: list[str] | None = None) -> None:
        """`news` takes notices about files that were lost."""
        self._folder, self._dimension = folder, dimension
        self._vectors = Vectors(folder / "index", dimension)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vectors")
        self._walls: Counter[str] = Counter()
        self.news: list[str] = [] if news is None else news
        self.when_lost: Callable[[], None] = lambda: None
        """Called on the event loop when the database was begun anew: values by name must be kept again."""

    async def open(self) -> None:
        """Must be awaited first. A damaged database is set aside, and the index repaired from the database."""
        self._store = await asyncio.to_thread(self._open_store)
        rows = await self._store.search("SELECT wall, count(*) FROM entries GROUP BY wall")
        self._walls = Counter(dict(rows))
        self.news += await self._on_thread(self._vectors.open)
        await self.repair()

    def _open_store(self) -> Store:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        anew = "new questions are stored from now on"
        rule = LossRule("the file of stored questions", self.news.append, anew, anew, self._begun_anew)
        return Store(self._folder / "semantic.db", MIGRATIONS, rule=rule)

    def _begun_anew(self) -> None:
        """The database counts from 1 again, so no number in the index leads to its question any more."""
        self._walls.clear()
        self._thread.submit(self._vectors.clear)  # before any question of the new database is added there
        self.when_lost()

    def look(self) -> None:
        """Notices that files are lost (storage/watch.py)."""
        self._store.look()
        if self._vectors.lost() is not None:
            self._thread.submit(self._restore_vectors)

    def _restore_vectors(self) -> None:
        try:
            notice = self._vectors.restore()
        except Storage as error:
            log.warning("the index of stored questions cannot be written again", error=error.message)
        else:
            if notice is not None:
                self.news.append(notice)

    async def repair(self) -> None:
        """Makes the index hold what the database holds."""
        numbers = [number for (number,) in await self._store.search("SELECT number FROM entries")]
        missing, surplus = await self._on_thread(lambda: self._vectors.check(numbers))
        await self._on_thread(lambda: self._remove_all(surplus))
        for start in range(0, len(missing), PAGE):
            page = missing[start : start + PAGE]
            rows = await self._store.read(
                f"SELECT number, wall, vector FROM entries WHERE number IN ({_places(page)})", page
            )
            await self._on_thread(partial(self._add_all, rows))
        if missing or surplus:
            log.info("the index of stored questions was repaired", added=len(missing), removed=len(surplus))

    def _remove_all(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._vectors.remove(number)

    def _add_all(self, rows: Sequence[tuple[int, str, bytes]]) -> None:
        for number, wall, vector in rows:
            if len(vector) == FLOAT_BYTES * self._dimension:
                self._vectors.add(wall, number, vector)

    async def close(self) -> None:
        await self._on_thread(self._save_index)
        self._thread.shutdown()
        await asyncio.to_thread(self._store.close)

    def _save_index(self) -> None:
        try:
            self._vectors.save()
        except Storage as error:
            log.warning("the index of stored questions could not be saved; it will be repaired", error=error.message)
        self._vectors.close()

    # ---- entries ----------------------------------------------------------------------------------------------------

    async def near(self, wall: str, vector: bytes, count: int) -> list[tuple[StoredQuestion, float]]:
        """The nearest questions behind the wall with their cosines, nearest first."""
        if not self._walls[wall]:
            return []
        found = await self._on_thread(lambda: self._vectors.search(wall, vector, count))
        numbers = [number for number, _ in found]
        rows = await self._store.read(f"SELECT {_ENTRY} FROM entries WHERE number IN ({_places(numbers)})", numbers)
        entries = {row[0]: StoredQuestion(*row) for row in rows}
        return [(entries[number], similarity) for number, similarity in found if number in entries]

    def count_behind(self, wall: str) -> int:
        """The number of questions behind the wall."""
        return self._walls[wall]

    async def add(self, key: str, wall: str, text: str, answer: str, vector: bytes) -> None:
        """Stores a question whose answer is under `key`, unless it was undone. If it is there, what was learned about it
        stays.
        """

        def insert(connection: sqlite3.Connection) -> tuple[int, bool]:
            if connection.execute("SELECT 1 FROM undone WHERE key = ?", (key,)).fetchone():
                return 0, False
            known = connection.execute("SELECT number FROM entries WHERE key = ?", (key,)).fetchone()
            if known:
                connection.execute(
                    "UPDATE entries SET answer = ?, at = ? WHERE number = ?", (answer, time.time(), *known)
                )
                return known[0], False
            cursor = connection.execute(
                "INSERT INTO entries (key, wall, text, answer, vector, at) VALUES (?, ?, ?, ?, ?, ?)",
                (key, wall, text, answer, vector, time.time()),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid, True

        number, new = await self._store.submit(insert)
        if new:
            self._walls[wall] += 1
            await self._on_thread(lambda: self._vectors.add(wall, number, vector))

    async def remove(self, keys: Sequence[str]) -> int:
        """Returns how many of them were there."""
        removed = 0
        for start in range(0, len(keys), PAGE):
            page = list(keys[start : start + PAGE])
            rows = await self._store.read(f"SELECT number, wall FROM entries WHERE key IN ({_places(page)})", page)
            await self._store.write(f"DELETE FROM entries WHERE key IN ({_places(page)})", page)
            self._walls.subtract(wall for _, wall in rows)
            await self._on_thread(partial(self._remove_all, [number for number, _ in rows]))
            removed += len(rows)
        return removed

    async def keys(self) -> list[str]:
        return [key for (key,) in await self._store.search("SELECT key FROM entries")]

    async def of(self, key: str) -> StoredQuestion | None:
        rows = await self._store.read(f"SELECT {_ENTRY} FROM entries WHERE key = ?", (key,))
        return StoredQuestion(*rows[0]) if rows else None

    async def count_comparison(self, number: int, same: bool) -> None:
        """Counts a verified pair with this question."""
        column = "same" if same else "different"
        await self._store.write(f"UPDATE entries SET {column} = {column} + 1 WHERE number = ?", (number,))

    async def add_same_answer(self, key: str, answer: str) -> None:
        """Notes that the answer under `key` is the same as those of `answer`."""
        await self._store.write("UPDATE entries SET answer = ? WHERE key = ?", (answer, key))

    # ---- hits -------------------------------------------------------------------------------------------------------

    async def serve(self, request: str, entry: StoredQuestion, similarity: float, pair: bytes) -> None:
        await self._store.write(
            "INSERT OR REPLACE INTO served (request, entry, key, at, similarity, pair) VALUES (?, ?, ?, ?, ?, ?)",
            (request, entry.number, entry.key, time.time(), similarity, pair),
        )

    async def verdict(self, request: str, verdict: str) -> None:
        await self._store.write("UPDATE served SET verdict = ? WHERE request = ?", (verdict, request))

    async def served(self, key: str) -> list[SemanticHit]:
        """The hits of one stored answer, newest first."""
        rows = await self._store.read(f"SELECT {_SERVED} FROM served WHERE key = ? ORDER BY number DESC", (key,))
        return [SemanticHit(*row) for row in rows]

    async def undo(self, key: str) -> None:
        """Removes the question, and keeps it from being stored again."""
        await self._store.write("INSERT OR IGNORE INTO undone VALUES (?, ?)", (key, time.time()))
        await self.remove([key])

    async def undone(self) -> set[str]:
        """The keys of all questions whose hits were undone."""
        return {key for (key,) in await self._store.search("SELECT key FROM undone")}

    async def count(self, verdict: str) -> int:
        """The number of hits with this verdict."""
        ((count,),) = await self._store.search("SELECT count(*) FROM served WHERE verdict = ?", (verdict,))
        return int(count)

    # ---- values by name ---------------------------------------------------------------------------------------------

    async def keep(self, name: str, value: bytes) -> None:
        await self._store.write(
            "INSERT INTO kept VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
        )

    async def kept(self, name: str) -> bytes | None:
        rows = await self._store.read("SELECT value FROM kept WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    async def size(self) -> tuple[int, int]:
        """(entries, bytes of their texts and vectors)"""
        ((count, size),) = await self._store.search(
            "SELECT count(*), coalesce(sum(length(text) + length(vector)), 0) FROM entries"
        )
        return count, size

    async def _on_thread(self, work: Callable[[], T]) -> T:
        try:
            done = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError as error:  # another folder is open by now
            raise Storage("the stored questions are closed", "Try again.") from error
        return await done


def _places(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def digest(answer: str) -> str:
    """A digest that is equal for answers that are equal after folding."""
    return hashlib.blake2b(fold(answer).encode("utf-8", "replace"), digest_size=12).hexdigest()


def packed(pair: object) -> bytes:
    """A pair and its decision, as bytes."""
    return msgspec.msgpack.encode(pair)
