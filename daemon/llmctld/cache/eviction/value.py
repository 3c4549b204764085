"""Policies that keep what is worth most: seconds of computation that are likely to be asked for again, per byte."""

import heapq
import itertools
from dataclasses import dataclass

from llmctld.cache.eviction.policy import Item


@dataclass(slots=True)
class _Kept:
    item: Item
    frequency: int
    number: int
    """Of its one valid place in the heap."""


class Gdsf:
    """Greedy-Dual-Size-Frequency (Cherkasova 1998): value = age + frequency x seconds / bytes, the least goes first.

    `age` is the value of the last victim, so that what was worth much once and is not asked for again is overtaken. A
    hit pushes a new place on the heap and leaves the old one there, which is passed over when it comes up.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._numbers = itertools.count()
        self._age = 0.0

    def add(self, key: str, item: Item) -> None:
        old = self._kept.pop(key, None)
        frequency = max(item.frequency, 0 if old is None else old.frequency) + 1
        kept = self._kept[key] = _Kept(item, frequency, 0)
        self._place(key, kept)

    def hit(self, key: str) -> None:
        kept = self._kept.get(key)
        if kept is not None:
            kept.frequency += 1
            self._place(key, kept)

    def remove(self, key: str) -> None:
        self._kept.pop(key, None)

    def victim(self) -> str | None:
        while self._heap:
            value, number, key = heapq.heappop(self._heap)
            kept = self._kept.get(key)
            if kept is not None and kept.number == number:
                del self._kept[key]
                self._age = value
                return key
        return None

    def __len__(self) -> int:
        return len(self._kept)

    def _place(self, key: str, kept: _Kept) -> None:
        kept.number = next(self._numbers)
        value = self._age + kept.frequency * kept.item.seconds / max(kept.item.size, 1)
        heapq.heappush(self._heap, (value, kept.number, key))
        if len(self._heap) > 2 * len(self._kept) + 64:
            self._heap = [entry for entry in self._heap if self._valid(entry)]
            heapq.heapify(self._heap)

    def _valid(self, entry: tuple[float, int, str]) -> bool:
        kept = self._kept.get(entry[2])
        return kept is not None and kept.number == entry[1]
