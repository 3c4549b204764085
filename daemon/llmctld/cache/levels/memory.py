"""The memory level: answers in this process, limited in bytes; a policy chooses victims."""

import time
from collections.abc import Sequence

from llmctld.cache.eviction import Item, Policy
from llmctld.cache.level import CachedValue


class MemoryLevel:
    """A Level in this process. `limit`: bytes; a larger value is not stored."""

    name = "memory"
    news: str | None = None

    def __init__(self, limit: int, policy: Policy) -> None:
        self.limit, self._policy = limit, policy
        self._values: dict[str, CachedValue] = {}
        self._bytes = 0

    def get(self, key: str) -> CachedValue | None:
        found = self._values.get(key)
        if found is None:
            return None
        if found.expires <= time.time():
            self.delete([key])
            return None
        self._policy.hit(key)
        return found

    def peek(self, key: str) -> CachedValue | None:
        """Like `get`, but does not count as use."""
        found = self._values.get(key)
        return None if found is None or found.expires <= time.time() else found

    def exists(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if self.peek(key) is not None}

    def put(self, key: str, value: bytes, expires: float, item: Item) -> list[str]:
        old = self._values.pop(key, None)
        self._bytes -= len(old.value) if old else 0
        if len(value) > self.limit:  # a smaller value stored before is no longer valid
            self._policy.remove(key)
            return [key]
        self._values[key] = CachedValue(value, expires)
        self._bytes += len(value)
        self._policy.add(key, item)
        out = []
        while self._bytes > self.limit:
            victim = self._policy.victim()
            if victim is None:
                break
            out.append(victim)
            self._bytes -= len(self._values.pop(victim).value)
        return out

    def delete(self, keys: Sequence[str]) -> int:
        held = [key for key in keys if key in self._values]
        for key in held:
            self._bytes -= len(self._values.pop(key).value)
            self._policy.remove(key)
        return len(held)

    def sweep(self) -> list[str]:
        """Removes expired entries; their keys."""
        now = time.time()
        ended = [key for key, found in self._values.items() if found.expires <= now]
        self.delete(ended)
        return ended

    def clear(self) -> int:
        return self.delete(list(self._values))

    def size(self) -> tuple[int, int]:
        return len(self._values), self._bytes

    def held(self) -> dict[str, CachedValue]:
        """All entries, expired ones included."""
        return dict(self._values)

    def lost(self) -> str | None:
        return None

    def leave(self, happened: str) -> str | None:
        return None

    def set_aside(self, error: Exception) -> str | None:
        return None

    def close(self) -> None:
        self.clear()
