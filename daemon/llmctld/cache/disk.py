"""The disk level: answers that outlive the hub, in diskcache, as bytes and never as pickle (CVE-2025-69872).

Bounded by bytes: the oldest answers go first. It does not know which answers are worth more than others.
"""

import sqlite3
import time
import warnings
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_PICKLE, UNKNOWN

from llmctld.watch import log


class BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """Stores bytes under str keys; refuses to write, and to read, anything that would need pickle."""

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


class Disk:
    """A Level in `folder`. `limit` in bytes; `ttl` in seconds; `repair`: the last hub did not end in order."""

    name = "disk"

    def __init__(self, folder: Path, limit: int, ttl: float, repair: bool = False) -> None:
        self._folder, self._limit, self._ttl = folder, limit, ttl
        self._cache = self._open(repair)

    def _open(self, repair: bool) -> Any:
        try:
            cache = self._connect()
            if repair:  # a SIGKILL leaves files behind that no row names
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # it warns of each file that it removes
                    cache.check(fix=True)
            return cache
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # no room or no permission: not damaged
            aside = self._folder.with_name(f"{self._folder.name}.damaged-{int(time.time())}")
            self._folder.rename(aside)
            log.warning("the answer cache was damaged and is begun anew", moved_to=str(aside), error=str(error))
            return self._connect()

    def _connect(self) -> Any:
        return diskcache.Cache(
            str(self._folder),
            disk=BytesDisk,
            eviction_policy="none",
            size_limit=2**60,
            cull_limit=0,
            tag_index=1,
            timeout=5,
        )

    def get(self, key: str) -> bytes | None:
        value: bytes | None = self._cache.get(key)
        return value

    def put(self, key: str, value: bytes, tag: str) -> None:
        self._cache.set(key, value, expire=self._ttl, tag=tag)
        if self._cache.volume() > self._limit:
            self._make_room()

    def _make_room(self) -> None:
        self._cache.expire()
        while self._cache.volume() > self._limit:
            oldest = next(iter(self._cache), None)  # its key alone: a value that is refused must be able to go
            if oldest is None:
                return
            self._cache.delete(oldest)

    def clear(self, tag: str | None) -> int:
        return int(self._cache.clear() if tag is None else self._cache.evict(tag))

    def size(self) -> tuple[int, int]:
        return len(self._cache), int(self._cache.volume())

    def close(self) -> None:
        self._cache.close()
