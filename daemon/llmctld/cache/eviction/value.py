"""The policy that keeps the most valuable entries: expected seconds of saved computation per byte."""

import heapq
import math
from dataclasses import dataclass

from llmctld.cache.eviction.policy import Item

HALF_LIFE = 20
"""Half-life of a use, in requests per entry present. With 10 it forgets too fast for a steady trace, with 40 too
slowly for a moving one.
"""
FIRST = 0.5
"""Share of the first use that is discounted: entries used once are reused less than half as often as entries used
twice.
"""
GHOSTS = 1000
"""Minimum number of evicted keys remembered; otherwise as many as there are entries."""


@dataclass(slots=True)
class _Valued:
    item: Item
    uses: float = 0.0
    at: float = 0.0
    """Time in half-lives to which `uses` refers."""
    number: int = 0
    """Number of its one valid item in the heap."""


class Gdsf:
    """Greedy-Dual-Size-Frequency: value = uses x seconds / bytes, the lowest is evicted (Cherkasova 1998), with aging.

    The original adds the value of the last victim as age; here uses decay by half-lives, which also forgets entries
    that were popular once. Since all decay together, log2(value) + now keeps its order. A hit pushes a new heap item;
    the old one is skipped when it comes up.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Valued] = {}
        self._ghosts: dict[str, tuple[float, float]] = {}  # (uses, time); oldest first
        self._heap: list[tuple[float, int, str]] = []
        self._number = 0
        self._now = 0.0
        """In half-lives."""

    def add(self, key: str, item: Item) -> None:
        kept = self._kept.get(key)
        if kept is None:
            uses, at = self._ghosts.pop(key, (float(item.frequency), self._now))
            kept = self._kept[key] = _Valued(item, uses, at)
        kept.item = item
        self._use(key, kept)

    def hit(self, key: str) -> None:
        kept = self._kept.get(key)
        if kept is not None:
            self._use(key, kept)

    def remove(self, key: str) -> None:
        self._kept.pop(key, None)

    def victim(self) -> str | None:
        while self._heap:
            _, number, key = heapq.heappop(self._heap)
            kept = self._kept.get(key)
            if kept is not None and kept.number == number:
                del self._kept[key]
                self._remember(key, kept)
                return key
        return None

    def __len__(self) -> int:
        return len(self._kept)

    def _use(self, key: str, kept: _Valued) -> None:
        self._now += 1 / (HALF_LIFE * max(len(self._kept), 100))
        self._number += 1
        kept.uses, kept.at, kept.number = kept.uses * 2 ** (kept.at - self._now) + 1, self._now, self._number
        worth = (kept.uses - FIRST) * max(kept.item.seconds, 1e-9) / max(kept.item.size, 1)
        heapq.heappush(self._heap, (math.log2(worth) + self._now, kept.number, key))
        if len(self._heap) > 2 * len(self._kept) + 64:
            self._heap = [place for place in self._heap if self._valid(place)]
            heapq.heapify(self._heap)

    def _valid(self, place: tuple[float, int, str]) -> bool:
        kept = self._kept.get(place[2])
        return kept is not None and kept.number == place[1]

    def _remember(self, key: str, kept: _Valued) -> None:
        self._ghosts[key] = (kept.uses, kept.at)
        if len(self._ghosts) > max(GHOSTS, len(self._kept)):
            del self._ghosts[next(iter(self._ghosts))]
