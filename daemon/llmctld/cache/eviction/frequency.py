"""Policies that tell what is asked for again from what is asked for once, cost aside: S3-FIFO and W-TinyLFU."""

import zlib
from dataclasses import dataclass

from llmctld.cache.eviction.policy import Item

SMALL = 0.1
"""Of the bytes: S3-FIFO's queue for what is new."""
MOST = 3
"""S3-FIFO counts uses up to here."""


@dataclass(slots=True)
class _Counted:
    size: int
    uses: int = 0


class S3Fifo:
    """S3-FIFO (Yang et al., SOSP 2023): a small queue for what is new, a main one for what was used there, ghosts of the rest.

    The queues are measured in bytes. What was added last is not looked at before the next comes: the paper makes room
    first and adds then.
    """

    def __init__(self, limit: int) -> None:
        self._small_limit = limit * SMALL
        self._main_limit = limit - self._small_limit
        self._small: dict[str, _Counted] = {}  # each the oldest first
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
        """The victim, or None: the oldest was used twice, and is in the main queue from now on."""
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
        """The victim, or None: the oldest was used, and goes round once more."""
        key = next(iter(self._main))
        entry = self._main.pop(key)
        if entry.uses:
            entry.uses -= 1
            self._main[key] = entry
            return None
        return key


class Sketch:
    """How often a key was seen lately, 0..15, in a fixed number of bytes: never too low, now and then too high.

    Four places of one array for each key, of which the least counts; all are halved after `SAMPLE` times as many
    additions as there are entries (TinyLFU, Einziger et al. 2017).
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
"""Of the bytes: what W-TinyLFU takes without asking."""
PROTECTED = 0.8
"""Of the rest: what was used there."""


class WTinyLfu:
    """W-TinyLFU (Einziger et al. 2017): a small LRU window, then a main part that takes nobody who is asked for less often
    than the one who would have to go: so an answer nobody asks for again pushes nothing out.
    """

    def __init__(self, limit: int) -> None:
        self._limits = {"window": limit * WINDOW, "protected": limit * (1 - WINDOW) * PROTECTED}
        self._main_limit = limit * (1 - WINDOW)
        self._parts: dict[str, dict[str, int]] = {"window": {}, "probation": {}, "protected": {}}  # the oldest first
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
        """Who goes. While the window is within its share nobody asks to come in."""
        if self._bytes["window"] <= self._limits["window"]:
            return main
        return main if self._sketch.count(window) > self._sketch.count(main) else window

    def _settle(self) -> None:
        """What no longer has room in the window goes on to the main part, as far as that has room."""
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
