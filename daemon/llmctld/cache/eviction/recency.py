"""Policies that look only at when an entry was used, not at what it cost: LRU."""

from llmctld.cache.eviction.policy import Item


class Lru:
    """The least recently used goes first."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}  # the oldest first

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
