"""Policies that separate entries used again from entries used once, regardless of cost: S3-FIFO and W-TinyLFU."""

import zlib
from dataclasses import dataclass

from llmctld.cache.eviction.policy import Item

SMALL = 0.1
"""Share of the bytes for S3-FIFO's queue of new entries."""
MOST = 3
"""Highest use count in S3-FIFO."""


@dataclass(slots=True)
class _Counted:
    size: int
    uses: int = 0


class S3Fifo:
    """S3-FIFO (Yang et al., SOSP 2023): a small queue for new entries, a main queue for reused ones, and a ghost list
    of evicted keys.

    Queues are measured in bytes. The newest entry is not considered before the next one arrives, since the paper
    evicts before it inserts.
    """

    def __init__(self, limit: int) -> None:
        self._small_limit = limit * SMALL
        self._main_limit = limit - self._small_limit
        self._small: dict[str, _Counted] = {}  # each oldest first
        self._main: dict[str, _Counted] = {}
        self._ghosts: dict[str, int] = {}
        self._small_bytes = self._ghost_bytes = 0
        self._fresh: tuple[str, _Counted] | None = None

    def add(self, key: str, item: Item) -> None:
        old = self._find(key)
        self.remove(key)
        self._enqueue_fresh()
        self._fresh = (key, _Counted(item.size, 0 if old is None else old.uses))

    def hit(self, key: str) -> None:
        found = self._find(key)
        if found is not None:
            found.uses = min(found.uses + 1, MOST)

    def remove(self, key: str) -> None:
        if self._fresh is not None and self._fresh[0] == key:
            self._fresh = None
        if key in self._small:
            self._small_bytes -= self._small.pop(key).size
        self._main.pop(key, None)

    def victim(self) -> str | None:
        if not self._small and not self._main:
            self._enqueue_fresh()
        while self._small or self._main:
            from_small = self._small and (self._small_bytes >= self._small_limit or not self._main)
            key = self._from_small() if from_small else self._from_main()
            if key is not None:
                return key
        return None

    def __len__(self) -> int:
        return len(self._small) + len(self._main) + (self._fresh is not None)

    def _find(self, key: str) -> _Counted | None:
        if self._fresh is not None and self._fresh[0] == key:
            return self._fresh[1]
        return self._small.get(key) or self._main.get(key)

    def _enqueue_fresh(self) -> None:
        if self._fresh is None:
            return
        key, entry = self._fresh
        self._fresh = None
        if key in self._ghosts:
            self._ghost_bytes -= self._ghosts.pop(key)
            self._main[key] = entry
        else:
            self._small[key] = entry
            self._small_bytes += entry.size

    def _from_small(self) -> str | None:
        """The victim. None: the oldest entry was used twice and has moved to the main queue."""
        key = next(iter(self._small))
        entry = self._small.pop(key)
        self._small_bytes -= entry.size
        if entry.uses > 1:
            entry.uses = 0
            self._main[key] = entry
            return None
        self._ghosts[key] = entry.size
        self._ghost_bytes += entry.size
        while self._ghost_bytes > self._main_limit and self._ghosts:
            self._ghost_bytes -= self._ghosts.pop(next(iter(self._ghosts)))
        return key

    def _from_main(self) -> str | None:
        """The victim. None: the oldest entry was used and has moved to the end."""
        key = next(iter(self._main))
        entry = self._main.pop(key)
        if entry.uses:
            entry.uses -= 1
            self._main[key] = entry
            return None
        return key


class Sketch:
    """Approximate recent use count per key, 0..15, in constant memory: never too low, sometimes too high.

    Four counters per key in one array, of which the smallest counts; all are halved after `SAMPLE` additions per entry
    (TinyLFU, Einziger et al. 2017).
    """

    SAMPLE = 10

    def __init__(self, limit: int) -> None:
        width = 2 ** max(10, min(20, (limit // 512).bit_length()))
        self._counts, self._mask, self._seen = bytearray(width), width - 1, 0
        self._halves = bytes(count // 2 for count in range(256))

    def add(self, key: str, entries: int) -> None:
        places = self._places(key)
        least = min(self._counts[place] for place in places)
        if least < 15:
            for place in places:
                if self._counts[place] == least:
                    self._counts[place] = least + 1
        self._seen += 1
        if self._seen >= self.SAMPLE * max(entries, 100):
            self._counts = self._counts.translate(self._halves)
            self._seen //= 2

    def count(self, key: str) -> int:
        return min(self._counts[place] for place in self._places(key))

    def _places(self, key: str) -> list[int]:
        data = key.encode()
        first, step = zlib.crc32(data), zlib.crc32(data, 0x9E3779B9) | 1
        return [(first + turn * step) & self._mask for turn in range(4)]


WINDOW = 0.01
"""Share of the bytes for W-TinyLFU's window."""
PROTECTED = 0.8
"""Share of the main part for reused entries."""


class WTinyLfu:
    """W-TinyLFU (Einziger et al. 2017): a small LRU window and a main part, which admits an entry only if it is used
    more often than the entry evicted for it. So an answer that is used once evicts nothing.
    """

    def __init__(self, limit: int) -> None:
        self._limits = {"window": limit * WINDOW, "protected": limit * (1 - WINDOW) * PROTECTED}
        self._main_limit = limit * (1 - WINDOW)
        self._parts: dict[str, dict[str, int]] = {"window": {}, "probation": {}, "protected": {}}  # each oldest first
        self._bytes = {"window": 0, "probation": 0, "protected": 0}
        self._where: dict[str, str] = {}
        self._sketch = Sketch(limit)

    def add(self, key: str, item: Item) -> None:
        self.remove(key)
        self._sketch.add(key, len(self))
        self._put(key, item.size, "window")
        self._settle()

    def hit(self, key: str) -> None:
        part = self._where.get(key)
        if part is None:
            return
        self._sketch.add(key, len(self))
        self._put(key, self._take(key), "window" if part == "window" else "protected")
        while self._bytes["protected"] > self._limits["protected"]:
            oldest = next(iter(self._parts["protected"]))
            self._put(oldest, self._take(oldest), "probation")

    def remove(self, key: str) -> None:
        if key in self._where:
            self._take(key)

    def victim(self) -> str | None:
        window = next(iter(self._parts["window"]), None)
        main = next(iter(self._parts["probation"] or self._parts["protected"]), None)
        gone = main if window is None else window if main is None else self._duel(window, main)
        if gone is not None:
            self._take(gone)
            self._settle()
        return gone

    def __len__(self) -> int:
        return len(self._where)

    def _duel(self, window: str, main: str) -> str:
        """Chooses between the window's and the main part's candidate. While the window is within its share, the main
        part's goes.
        """
        if self._bytes["window"] <= self._limits["window"]:
            return main
        return main if self._sketch.count(window) > self._sketch.count(main) else window

    def _settle(self) -> None:
        """Moves what exceeds the window to the main part while that has room."""
        window = self._parts["window"]
        while self._bytes["window"] > self._limits["window"]:
            oldest = next(iter(window))
            if self._bytes["probation"] + self._bytes["protected"] + window[oldest] > self._main_limit:
                return
            self._put(oldest, self._take(oldest), "probation")

    def _take(self, key: str) -> int:
        part = self._where.pop(key)
        size = self._parts[part].pop(key)
        self._bytes[part] -= size
        return size

    def _put(self, key: str, size: int, part: str) -> None:
        self._where[key] = part
        self._parts[part][key] = size
        self._bytes[part] += size
