"""The disk level: answers that survive the hub, in diskcache, as bytes and never as pickle (CVE-2025-69872).

Limited in bytes; a policy chooses victims once it knows the entries present.
"""

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import diskcache
from diskcache.core import DBNAME, MODE_PICKLE, UNKNOWN

from llmctld.cache.eviction import Item, Policy
from llmctld.cache.level import CachedValue, seal, unseal
from llmctld.runtime.log import log
from llmctld.storage.files import set_aside
from llmctld.storage.identity import LOST_LOG, change, identity_of, unusable


class BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """Stores bytes under str keys; refuses to read or write anything that needs pickle."""

    def put(self, key: Any) -> tuple[Any, bool]:
        if type(key) is not str:
            raise TypeError(f"a key must be str, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: bool) -> Any:
        if not raw:
            raise ValueError("a pickled key in the cache: refused")
        return key

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> Any:
        if type(value) is not bytes:
            raise TypeError(f"a value must be bytes, not {type(value).__name__}")
        return super().store(value, read, key=key)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode == MODE_PICKLE:
            raise ValueError("a pickled value in the cache: refused")
        found = super().fetch(mode, filename, value, read)
        if type(found) is not bytes:
            raise ValueError(f"a value in the cache is {type(found).__name__} and not bytes: refused")
        return found

    def _write(self, full_path: str, *arguments: Any) -> Any:
        try:
            return super()._write(full_path, *arguments)
        except OSError:  # on a full disk, above all: remove the partial file
            with contextlib.suppress(OSError):
                os.remove(full_path)
            raise


class Database(diskcache.Cache):  # type: ignore[misc]
    """If opening fails, closes its file at once; otherwise a removed file would keep occupying the disk."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        try:
            super().__init__(*arguments, **settings)
        except BaseException:
            self.close()
            raise


def scrap(folder: Path) -> None:
    """Deletes a level's files in `folder`. Deleting rows in a database needs free space, which a full disk lacks.
    Raises OSError.
    """
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What diskcache raises for settings in its database that make no sense."""


def is_damage(error: Exception) -> bool:
    """Whether the database is damaged, and not a full disk, a permission or a lock the reason."""
    others = (sqlite3.OperationalError, sqlite3.ProgrammingError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, others)


def _set_aside(folder: Path, error: Exception) -> str:
    aside = set_aside(folder)
    log.warning(
        "the stored answers on disk were damaged and have been discarded", moved_to=str(aside), error=str(error)
    )
    return f"the stored answers on disk were damaged and have been discarded; the damaged files are now {aside}"


class Held(NamedTuple):
    """An entry on disk, with its size in bytes."""

    key: str
    size: int
    expires: float


class DiskLevel:
    """A Level in `folder`. `limit`: bytes. `repair`: the last hub did not exit cleanly, or the database is damaged."""

    name = "disk"
    news: str | None = None

    def __init__(self, folder: Path, limit: int, policy: Policy, repair: bool = False) -> None:
        self._folder, self._limit, self._policy = folder, limit, policy
        self._told = False
        """Whether the policy knows the entries; nothing is evicted before."""
        self._early: dict[str, Item] = {}
        """Entries added before that."""
        self._cache = self._open(repair)
        self._identity = identity_of(folder / DBNAME)

    def _open(self, repair: bool) -> Any:
        cache = None
        try:
            if words := unusable(self._folder / DBNAME):
                raise sqlite3.DatabaseError(f"{DBNAME} {words}")
            cache = self._connect()
            if repair:
                self._mend(cache)
            return cache
        except (sqlite3.DatabaseError, *UNREADABLE) as error:
            if isinstance(error, sqlite3.DatabaseError) and not is_damage(error):
                raise type(error)(f"{error}: {self._folder / DBNAME}") from error
            if cache is not None:
                cache.close()
            self.news = _set_aside(self._folder, error)
            return self._connect()

    def _connect(self) -> Any:
        return Database(
            str(self._folder), disk=BytesDisk, eviction_policy="none", size_limit=2**60, cull_limit=0, timeout=5
        )

    def _mend(self, cache: Any) -> None:
        """Deletes files without a row, left by SIGKILL. Raises DatabaseError if the database is damaged."""
        ((verdict,),) = cache._sql("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        rows = cache._sql("SELECT key, filename FROM Cache WHERE filename IS NOT NULL").fetchall()
        files = {str(path.relative_to(self._folder)) for path in self._folder.glob("*/*/*.val")}
        for orphan in files - {name for _, name in rows}:
            (self._folder / orphan).unlink(missing_ok=True)
        for key, name in rows:
            if name not in files:
                cache.delete(key)

    # ---- the level --------------------------------------------------------------------------------------------------

    def get(self, key: str) -> CachedValue | None:
        sealed, expires = self._cache.get(key, expire_time=True)
        return None if sealed is None else CachedValue(unseal(sealed), float(expires))

    def hit(self, hits: Mapping[str, int]) -> None:
        """Tells the policy how often entries were used, on any level."""
        for key, count in hits.items():
            for _ in range(count):
                self._policy.hit(key)

    def exists(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if key in self._cache}

    def put(self, key: str, value: bytes, expires: float, item: Item) -> list[str]:
        if type(value) is not bytes:
            raise TypeError(f"a value must be bytes, not {type(value).__name__}")
        if len(value) > self._limit:
            self.delete([key])  # the smaller value stored before is no longer valid
            return [key]
        self._cache.set(key, seal(value), expire=expires - time.time())
        if not self._told:
            self._early[key] = item
            return []
        self._policy.add(key, item)
        return self._make_room()

    def _make_room(self) -> list[str]:
        out: list[str] = []
        while self._cache.volume() > self._limit:
            victim = self._policy.victim()
            if victim is None:
                break
            self._remove(victim)
            out.append(victim)
        return out

    def delete(self, keys: Sequence[str]) -> int:
        count = 0
        for key in keys:
            self._policy.remove(key)
            count += self._remove(key)
        return count

    def _remove(self, key: str) -> bool:
        """Removes an entry even if it has expired; diskcache's own `delete` skips those."""
        with self._cache._transact() as (sql, cleanup):
            rows = sql("SELECT rowid, filename FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchall()
            for rowid, filename in rows:
                sql("DELETE FROM Cache WHERE rowid = ?", (rowid,))
                cleanup(filename)
        return bool(rows)

    def sweep(self) -> list[str]:
        """Removes expired entries; their keys."""
        rows = self._cache._sql("SELECT key FROM Cache WHERE raw = 1 AND expire_time <= ?", (time.time(),)).fetchall()
        ended = [key for (key,) in rows if type(key) is str]
        self.delete(ended)
        return ended

    def clear(self) -> int:
        for entry in self.held():
            self._policy.remove(entry.key)
        removed = int(self._cache.clear())
        with contextlib.suppress(sqlite3.Error):  # disk space is freed only when the write-ahead log is written back
            self._cache._sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return removed

    def size(self) -> tuple[int, int]:
        return len(self._cache), int(self._cache.volume())

    def lost(self) -> str | None:
        now = identity_of(self._folder / DBNAME)
        happened = change(self._folder / DBNAME, self._identity, now)
        if happened is None:
            self._identity = now
        return happened

    def leave(self, happened: str) -> str | None:
        self._cache.close()  # with a lost log, this moves its pages into the file
        there = happened != LOST_LOG and (self._folder / DBNAME).exists()
        return str(set_aside(self._folder)) if there else None

    def set_aside(self, error: Exception) -> str | None:
        if not is_damage(error):
            return None
        self._cache.close()
        return _set_aside(self._folder, error)

    def close(self) -> None:
        self._cache.close()

    # ---- for the book -----------------------------------------------------------------------------------------------

    def held(self) -> list[Held]:
        """All entries, expired ones included."""
        rows = self._cache._sql("SELECT key, length(value) + size, expire_time FROM Cache WHERE raw = 1").fetchall()
        return [Held(key, size or 0, expires or float("inf")) for key, size, expires in rows if type(key) is str]

    def load_policy(self, items: Mapping[str, Item]) -> list[str]:
        """Tells the policy about the entries, in order of last use; returns keys to evict at once.

        Entries not in `items` are evicted first.
        """
        if self._told:
            return []
        held = {entry.key: entry.size for entry in self.held()}
        known = {**items, **self._early}
        for key in held.keys() - known.keys():
            self._policy.add(key, Item(held[key], 0.0))
        for key, item in known.items():
            if key in held:
                self._policy.add(key, item)
        self._told, self._early = True, {}
        return self._make_room()
