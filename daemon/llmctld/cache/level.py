"""The contract of a cache level, the form of a stored answer, and the statistics of a level.

A level maps a key to bytes until a point in time. It knows neither what an answer is nor which other levels exist.
"""

import statistics
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import msgspec

from llmctl.wire import Answer, LevelStats
from llmctld.cache.eviction import Item
from llmctld.runtime.counters import Counters


class About(msgspec.Struct, array_like=True, frozen=True):
    """Metadata of a stored answer: who asked, and what. `prompt`: its first characters.

    `kind`: see question_kinds.py; `template`: identifies the template that the prompt was made from, "" without one.
    """

    user: str = ""
    tags: list[str] = []
    conversation: str | None = None
    prompt: str = ""
    kind: str = ""
    template: str = ""


class LeftOut(msgspec.Struct, array_like=True, frozen=True):
    """The part of a prompt that was cut because it was too long: characters `start` to `end`, replaced by `glue`,
    which left `tokens` of the original `of` tokens.
    """

    start: int
    end: int
    glue: str
    tokens: int
    of: int


SKEW_S = 3600.0
"""How far the clocks of two machines may differ; an answer that is dated later was stored while the clock was wrong."""
OF_RECEIVER = ("id", "user", "conversation", "cache", "cost", "route", "batched", "timings", "explain")
"""Fields of an answer that belong to the receiving request; they are not stored. All others are, whatever they are."""


class Stored(msgspec.Struct):
    """The value under one key. `created`: Unix time; `seconds`: time that computing it took."""

    answers: list[Answer]
    """One answer, or one per sample. Levels keep no fields of OF_RECEIVER."""
    created: float
    seconds: float
    about: About = About()
    """Enough to rebuild the book from the entries alone."""
    left_out: LeftOut | None = None

    @property
    def first(self) -> Answer:
        """The first or only answer."""
        return self.answers[0]


class CachedValue(NamedTuple):
    """A value and its expiry in Unix time."""

    value: bytes
    expires: float


class Level(Protocol):
    """The contract of a level.

    - Calls come from one thread at a time. A failing level raises one of FAILURES (levels/level_thread.py) and nothing else.
    - `put` and `delete` are atomic: a `get` finds the old value, the new one, or none, never a part or a mixture, even
      after SIGKILL. The last `put` of a key wins. A `put` that raised leaves the old value, the new one, or none.
    - A value is served until `expires` and not afterwards. A level keeps its bytes below its limit, and may evict any key
      for that.
    - Keys are str, values bytes; nothing is ever unpickled.
    """

    name: str
    news: str | None
    """A notice for the user if the level was damaged and has been replaced."""

    def get(self, key: str) -> CachedValue | None:
        """The value with the expiry it was stored with; copies to higher levels keep that expiry."""
        ...

    def exists(self, keys: Sequence[str]) -> set[str]:
        """Those of `keys` that have a value. Does not count as use."""
        ...

    def put(self, key: str, value: bytes, expires: float, item: Item) -> list[str]:
        """Stores the value and returns the keys evicted for it; `key` itself if the level does not accept it."""
        ...

    def delete(self, keys: Sequence[str]) -> int:
        """The number of keys that existed."""
        ...

    def clear(self) -> int:
        """Removes everything; the number of entries."""
        ...

    def size(self) -> tuple[int, int]:
        """(entries, bytes)"""
        ...

    def lost(self) -> str | None:
        """What happened to the files from outside, in words, so that the level must be reopened; None if nothing did."""
        ...

    def leave(self, happened: str) -> str | None:
        """After a loss: closes the level, and sets aside what lies in its place. Returns the new name, None if there is none.
        Raises OSError."""
        ...

    def set_aside(self, error: Exception) -> str | None:
        """If `error` shows that the files are damaged: closes the level, renames the files, and returns a notice."""
        ...

    def close(self) -> None: ...


MARK = 0xC1
"""A byte with which no msgpack value starts."""


def seal(value: bytes) -> bytes:
    """The value with a checksum in front, for levels outside this process, so that damage is detected."""
    return bytes((MARK, *zlib.crc32(value).to_bytes(4, "big"))) + value


def unseal(sealed: bytes) -> bytes:
    """The value behind a valid checksum. Raises ValueError for a wrong one. A value without checksum, from older
    versions, is returned as it is.
    """
    if not sealed or sealed[0] != MARK:
        return sealed
    value = sealed[5:]
    if zlib.crc32(value).to_bytes(4, "big") != sealed[1:5]:
        raise ValueError("a value in the cache is damaged: its checksum differs")
    return value


class Meter:
    """Hits, misses, errors and recent lookup times of one level. `error`: its last failure, None while it works."""

    def __init__(self, level: str, counters: Counters) -> None:
        self._level = level
        self._hits, self._misses, self._errors = (
            counters.counter(name, level=level) for name in ("cache_hits", "cache_misses", "cache_errors")
        )
        self.error: str | None = None
        self._times: deque[float] = deque(maxlen=512)

    @property
    def hits(self) -> int:
        return int(self._hits.value)

    @property
    def errors(self) -> int:
        return int(self._errors.value)

    @contextmanager
    def lookup(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.took(time.perf_counter() - start)

    def took(self, seconds: float) -> None:
        """Records the duration of a lookup."""
        self._times.append(seconds)

    def count(self, hit: bool) -> None:
        (self._hits if hit else self._misses).add()

    def fail(self) -> None:
        """Counts a failure. Whoever knows whether the level still works sets `error`."""
        self._errors.add()

    def report(self, entries: int, size: int) -> LevelStats:
        p50 = round(statistics.median(self._times) * 1e3, 4) if self._times else None
        state = "ok" if self.error is None else "failing"
        return LevelStats(
            self._level, self.hits, int(self._misses.value), self.errors, entries, size, p50, state, self.error
        )
