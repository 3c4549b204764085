"""Stale answers served with predicted lifetimes against the best fixed one, on a trace whose answers change at known times.

A third of the answers change every hour, a third every day, a third never, each at its own minute. The levels, the book and
what is learned are the hub's, on a clock that is put forward; they begin knowing nothing, see no question that would tell
which third it is of, and learn from nothing but the answers that were computed because a lifetime was over.
"""

import asyncio
import math
import random
import tempfile
import time
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from llmctld.cache.entries.book import Book
from llmctld.cache.eviction import POLICIES
from llmctld.cache.level import About
from llmctld.cache.levels.memory import MemoryLevel
from llmctld.cache.levels.tiers import Tiers
from llmctld.cache.lifetimes.learned import Learned
from llmctld.cache.lifetimes.question_kinds import TEXT

from tests.bench.measure import Number
from tests.hub.scene import a_stored

HOUR, DAY = 3600.0, 86400.0
BEGAN = 1_700_000_000.0


class Kind(NamedTuple):
    """So many keys for so many days, each asked for so often a day on average; `skew` of their popularity (Zipf)."""

    name: str
    keys: int
    days: int
    daily: float
    skew: float


KINDS = (
    Kind("300 keys, 6 a day each", 300, 14, 6, 0.8),
    Kind("60 keys, 24 a day each", 60, 14, 24, 0.8),
    Kind("150 keys, 12 a day each, all alike", 150, 14, 12, 0.0),
)


class Asked(NamedTuple):
    """`version`: what the right answer is at that moment."""

    at: float
    key: str
    version: int


class Served(NamedTuple):
    """Shares of all requests."""

    hits: float
    stale: float


def trace(kind: Kind, seed: int) -> list[Asked]:
    source = random.Random(seed)
    periods = [(HOUR, DAY, math.inf)[key % 3] for key in range(kind.keys)]
    phases = [source.random() for _ in periods]
    order = source.sample(range(kind.keys), kind.keys)
    weights = list(accumulate((rank + 1) ** -kind.skew for rank in range(kind.keys)))
    times = sorted(source.random() * kind.days * DAY for _ in range(int(kind.keys * kind.days * kind.daily)))
    asked = []
    for at in times:
        key = order[min(bisect(weights, source.random() * weights[-1]), kind.keys - 1)]
        asked.append(Asked(at, f"{key:08x}", int(at / periods[key] + phases[key])))
    return asked


def fixed(asked: Sequence[Asked], ttl: float) -> Served:
    """With one lifetime for all: a dict is enough."""
    held: dict[str, Asked] = {}
    hits = stale = 0
    for request in asked:
        stored = held.get(request.key)
        if stored is not None and request.at - stored.at <= ttl:
            hits += 1
            stale += stored.version != request.version
        else:
            held[request.key] = request
    return Served(hits / len(asked), stale / len(asked))


def fixed_with(asked: Sequence[Asked], hits: float) -> tuple[float, Served]:
    """The shortest fixed lifetime, in seconds, with at least that hit rate: a longer one would serve more that is stale."""
    short, long = 1.0, 60 * DAY
    for _ in range(20):
        middle = math.sqrt(short * long)
        short, long = (middle, long) if fixed(asked, middle).hits < hits else (short, middle)
    return long, fixed(asked, long)


async def predicted(asked: Sequence[Asked], folder: Path) -> Served:
    memory, book = MemoryLevel(2**30, POLICIES["gdsf"](2**30)), Book(folder / "cache.db")
    learned = Learned(folder / "learned.json")
    tiers = Tiers(memory, book=book, expiry=learned)
    hits = stale = 0
    clock, now = time.time, [BEGAN]
    time.time = lambda: now[0]
    try:
        for number, request in enumerate(asked):
            now[0] = BEGAN + request.at
            hit = await tiers.get(request.key, None)
            if hit is not None:
                hits += 1
                stale += hit.answer.first.text != f"{request.version}"
            else:
                answer = a_stored(f"{request.version}", "m", now[0], 1.0, about=About(kind=TEXT))
                await tiers.put(request.key, answer)
            if number % 100 == 0:
                await tiers.round()  # as it does each second: hits are written down
    finally:
        time.time = clock
        await tiers.close()
        await learned.close()
    return Served(hits / len(asked), stale / len(asked))


def measure(data: Path | None) -> list[Number]:
    numbers = []
    for kind in KINDS:
        asked = trace(kind, 1)
        with tempfile.TemporaryDirectory() as folder:
            ours = asyncio.run(predicted(asked, Path(folder)))
        ttl, one = fixed_with(asked, ours.hits)
        note = (
            f"{100 * ours.stale:.1f} % of all requests against {100 * one.stale:.1f} %, hit rate {100 * ours.hits:.1f} %, "
            f"the fixed one {ttl / 60:.0f} min"
        )
        numbers.append(Number(f"stale answers, {kind.name}", ours.stale / one.stale, "of a fixed ttl", 0.5, note))
    return numbers
