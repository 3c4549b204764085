"""Weighted priority: 0.4 computation + 0.3 frequency - 0.2 size + 0.1 context; the lowest in a sample is evicted.

Factors are scaled to 0..1 over all entries, so each addition may reorder all others: a heap cannot hold this order,
and a full scan of 100,000 entries takes 50 ms.
"""

import random
from bisect import bisect_left, insort
from dataclasses import dataclass

from llmctld.cache.eviction.policy import Item

SAMPLE = 64
"""Entries sampled per victim, all if there are fewer. On average the victim is among the lowest 1.5 %."""
WEIGHTS = (0.4, 0.3, -0.2, 0.1)


class Spread:
    """Minimum and maximum of a set of values."""

    def __init__(self) -> None:
        self._counts: dict[float, int] = {}
        self._ordered: list[float] = []

    def add(self, value: float) -> None:
        if value not in self._counts:
            insort(self._ordered, value)
        self._counts[value] = self._counts.get(value, 0) + 1

    def remove(self, value: float) -> None:
        self._counts[value] -= 1
        if not self._counts[value]:
            del self._counts[value]
            del self._ordered[bisect_left(self._ordered, value)]

    def scale(self, value: float) -> float:
        """The value scaled to 0..1; 0 if all are equal."""
        least, largest = self._ordered[0], self._ordered[-1]
        return 0.0 if largest == least else (value - least) / (largest - least)


def _rounded(value: float) -> float:
    """Three significant digits, to keep the number of distinct values low."""
    return value if value < 1000 and value == int(value) else float(f"{value:.2e}")


@dataclass(slots=True)
class _Weighed:
    factors: tuple[float, float, float, float]
    """Seconds, uses, bytes, context."""
    place: int
    """Position in the list that samples are drawn from."""


class Weighted:
    """`seed`: makes a replay repeatable."""

    def __init__(self, seed: int = 0) -> None:
        self._kept: dict[str, _Weighed] = {}
        self._keys: list[str] = []
        self._spreads = [Spread() for _ in WEIGHTS]
        self._random = random.Random(seed)

    def add(self, key: str, item: Item) -> None:
        old = self._kept.get(key)
        uses = max(item.frequency, 0 if old is None else old.factors[1] - 1) + 1
        self.remove(key)
        factors = (_rounded(item.seconds), uses, _rounded(item.size), _rounded(item.context))
        kept = self._kept[key] = _Weighed(factors, len(self._keys))
        self._keys.append(key)
        for spread, value in zip(self._spreads, kept.factors, strict=True):
            spread.add(value)

    def hit(self, key: str) -> None:
        kept = self._kept.get(key)
        if kept is None:
            return
        seconds, uses, size, context = kept.factors
        self._spreads[1].remove(uses)
        self._spreads[1].add(uses + 1)
        kept.factors = (seconds, uses + 1, size, context)

    def remove(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        for spread, value in zip(self._spreads, kept.factors, strict=True):
            spread.remove(value)
        last = self._keys.pop()
        if last != key:
            self._keys[kept.place] = last
            self._kept[last].place = kept.place

    def victim(self) -> str | None:
        few = len(self._keys) <= SAMPLE
        drawn = self._keys if few else self._random.choices(self._keys, k=SAMPLE)
        key = min(drawn, key=lambda key: (self.priority(key), self._kept[key].place), default=None)
        if key is not None:
            self.remove(key)
        return key

    def priority(self, key: str) -> float:
        """The priority of a key that is present."""
        scaled = (spread.scale(value) for spread, value in zip(self._spreads, self._kept[key].factors, strict=True))
        return sum(weight * value for weight, value in zip(WEIGHTS, scaled, strict=True))

    def __len__(self) -> int:
        return len(self._kept)
