"""Policies based on recency alone, not on cost: LRU and SIEVE."""

from dataclasses import dataclass

from llmctld.cache.eviction.policy import Item


class Lru:
    """Evicts the least recently used entry."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}  # oldest first

    def add(self, key: str, item: Item) -> None:
        self._keys.pop(key, None)
        self._keys[key] = None

    def hit(self, key: str) -> None:
        if key in self._keys:
            del self._keys[key]
            self._keys[key] = None

    def remove(self, key: str) -> None:
        self._keys.pop(key, None)

    def victim(self) -> str | None:
        key = next(iter(self._keys), None)
        if key is not None:
            del self._keys[key]
        return key

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(slots=True, eq=False)
class _Node:
    key: str
    used: bool = False
    older: "_Node | None" = None
    newer: "_Node | None" = None


class Sieve:
    """SIEVE (Zhang et al., NSDI 2024): a fixed queue and a hand that moves from the oldest to the newest entry.

    The hand skips entries used since its last visit and evicts the first other one. The newest entry is not considered
    before the next one arrives, since the paper evicts before it inserts.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._oldest: _Node | None = None
        self._newest: _Node | None = None
        self._hand: _Node | None = None
        self._fresh: _Node | None = None

    def add(self, key: str, item: Item) -> None:
        if key in self._nodes:
            self.hit(key)
            return
        if self._fresh is not None:
            self._enqueue(self._fresh)
        self._fresh = self._nodes[key] = _Node(key)

    def hit(self, key: str) -> None:
        node = self._nodes.get(key)
        if node is not None:
            node.used = True

    def remove(self, key: str) -> None:
        node = self._nodes.pop(key, None)
        if node is None:
            return
        if node is self._fresh:
            self._fresh = None
        else:
            self._unlink(node)

    def victim(self) -> str | None:
        node = self._hand or self._oldest
        while node is not None and node.used:
            node.used = False
            node = node.newer or self._oldest
        self._hand = node
        gone = node or self._fresh
        if gone is None:
            return None
        self.remove(gone.key)
        return gone.key

    def __len__(self) -> int:
        return len(self._nodes)

    def _enqueue(self, node: _Node) -> None:
        node.older, self._newest = self._newest, node
        if node.older is None:
            self._oldest = node
        else:
            node.older.newer = node

    def _unlink(self, node: _Node) -> None:
        older, newer = node.older, node.newer
        if self._hand is node:
            self._hand = newer
        if older is None:
            self._oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self._newest = older
        else:
            newer.older = older
