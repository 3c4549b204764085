"""The memory level: the most recently used answers, bounded by their bytes."""

from cachetools import LRUCache


class Memory:
    """A Level in this process. `limit` in bytes; a value larger than that is not kept."""

    name = "memory"

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: LRUCache[str, tuple[bytes, str]] = LRUCache(limit, getsizeof=lambda value: len(value[0]))

    def get(self, key: str) -> bytes | None:
        found = self._values.get(key)
        return found[0] if found else None

    def put(self, key: str, value: bytes, tag: str) -> None:
        self._values.pop(key, None)  # also when the new value is too large: the old one no longer holds
        if len(value) <= self._limit:
            self._values[key] = (value, tag)

    def clear(self, tag: str | None) -> int:
        doomed = [key for key, (_, own) in self._values.items() if tag is None or own == tag]
        for key in doomed:
            del self._values[key]
        return len(doomed)

    def size(self) -> tuple[int, int]:
        return len(self._values), int(self._values.currsize)

    def close(self) -> None:
        self._values.clear()
