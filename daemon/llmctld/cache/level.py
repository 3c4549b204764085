"""The contract of a cache level, the form in which an answer is stored, and the figures each level keeps about itself.

A level maps a key to bytes until a point in time. It does not know what an answer is, nor which other levels there are.
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
from llmctld.counters import Counters


class About(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a stored answer beside itself: whose it is, and what was asked. `prompt`: its first words.

    `kind`: as question_kinds.py has it; `template`: what tells the template apart that the prompt was made from, "" without one.
    """

    user: str = ""
    tags: list[str] = []
    conversation: str | None = None
    prompt: str = ""
    kind: str = ""
    template: str = ""


class LeftOut(msgspec.Struct, array_like=True, frozen=True):
    """What was not sent of a prompt that was too long: its characters from `start` to `end`, where `glue` stood instead, and so
    `tokens` fewer than the `of` that it had.
    """

    start: int
    end: int
    glue: str
    tokens: int
    of: int


class Stored(msgspec.Struct, array_like=True):
    """What is stored under one key. `created` is seconds since 1970, `seconds` what computing it took."""

    answers: list[Answer]
    """One, or each of several samples; without the fields that belong to the request that receives it."""
    created: float
    seconds: float
    about: About = About()
    """Whose it is, so that the book can be made again from the entries alone."""
    left_out: LeftOut | None = None

    @property
    def first(self) -> Answer:
        """The first, or only one."""
        return self.answers[0]


class CachedValue(NamedTuple):
    """A value, and when it ends: seconds since 1970."""

    value: bytes
    expires: float


class Level(Protocol):
    """What a level promises.

    - Calls come from one thread at a time. An error of FAILURES (tiers.py) means that the level fails; nothing else is raised.
    - `put` and `delete` are atomic: a `get` finds the old value, the new one, or none, never a part or a mixture, also
      after SIGKILL. The last `put` of a key wins. What a `put` that raised has left behind is the old value, the new one
      or none.
    - A value is served until `expires` and not afterwards; a level keeps its bytes below its limit by itself, and may
      put out any key for that.
    - Keys are str, values bytes; nothing is ever unpickled.
    """

    name: str
    news: str | None
    """What a user should hear of its opening: that it was damaged, and is begun anew."""

    def get(self, key: str) -> CachedValue | None:
        """The value with the end that it was put with: who copies it upward copies that too."""
        ...

    def exists(self, keys: Sequence[str]) -> set[str]:
        """Which of `keys` have a value. It counts as no use of them."""
        ...

    def put(self, key: str, value: bytes, expires: float, item: Item) -> list[str]:
        """Sets the value, and returns the keys that had to go for it: `key` itself where the level does not take it."""
        ...

    def delete(self, keys: Sequence[str]) -> int:
        """How many of them were there."""
        ...

    def clear(self) -> int:
        """Removes everything; the number of entries."""
        ...

    def size(self) -> tuple[int, int]:
        """(entries, bytes)"""
        ...

    def lost(self) -> bool:
        """Whether what it keeps was removed or replaced from outside, so that it must be opened anew."""
        ...

    def close(self) -> None: ...


MARK = 0xC1
"""The one byte with which no msgpack begins."""


def seal(value: bytes) -> bytes:
    """The value behind its checksum, for a level outside this process: what a crash or another hand left is told apart."""
    return bytes((MARK, *zlib.crc32(value).to_bytes(4, "big"))) + value


def unseal(sealed: bytes) -> bytes:
    """Raises ValueError when it is not what was sealed. A value of an older version has no seal and passes."""
    if not sealed or sealed[0] != MARK:
        return sealed
    value = sealed[5:]
    if zlib.crc32(value).to_bytes(4, "big") != sealed[1:5]:
        raise ValueError("a value in the cache is not what was put there: its checksum differs")
    return value


class Meter:
    """Hits, misses, errors and the time of the last look-ups of one level; `error`: its last failure, None while it works."""

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
        """A look-up lasted so long."""
        self._times.append(seconds)

    def count(self, hit: bool) -> None:
        (self._hits if hit else self._misses).add()

    def fail(self) -> None:
        """Something failed; `error` is set by whoever knows whether the level still works."""
        self._errors.add()

    def report(self, entries: int, size: int) -> LevelStats:
        p50 = round(statistics.median(self._times) * 1e3, 4) if self._times else None
        state = "ok" if self.error is None else "failing"
        return LevelStats(
            self._level, self.hits, int(self._misses.value), self.errors, entries, size, p50, state, self.error
        )
