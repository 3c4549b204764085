"""All levels side by side: memory, then the others in lookup order.

It looks and measures without counting a use, and removes everywhere. Which answers are valid is decided in tiers.py.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from llmctl.wire import LevelShown, LevelStats
from llmctld.cache.level import Meter
from llmctld.cache.levels.answers import Seen, decode, look
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.cache.levels.memory import MemoryLevel

NOWHERE = Seen()


class Levels:
    """`lost` is called with the key of a damaged value, from any thread. `meter`: of the memory level."""

    def __init__(
        self, memory: MemoryLevel, threads: Sequence[LevelThread[Any]], meter: Meter, lost: Callable[[str], None]
    ) -> None:
        self.memory, self.threads, self.meter = memory, list(threads), meter
        self._lost = lost

    @property
    def limit(self) -> int:
        """Bytes of the largest value that some level accepts; 0: the cache is disabled."""
        return max([self.memory.limit, *(thread.limit for thread in self.threads)])

    async def peek(self, key: str) -> Seen:
        """The stored answer of the first level that has one, expired or not."""
        found = self.memory.peek(key)
        seen = NOWHERE if found is None else Seen(decode(found.value), found)
        for thread in self.threads:
            if seen.answer is None:
                seen = await self._peek(thread, key)
        return seen

    async def holding(self, key: str) -> list[LevelShown]:
        """The levels with an answer, with its bytes and remaining seconds on each."""
        held = self.memory.peek(key)
        found = [(MemoryLevel.name, held)] if held is not None else []
        for thread in self.threads:
            seen = await self._peek(thread, key)
            if seen.answer is not None:
                found.append((thread.name, seen.found))
        now = time.time()
        return [
            LevelShown(level=name, bytes=len(value), left_s=round(expires - now, 3)) for name, (value, expires) in found
        ]

    async def _peek(self, thread: LevelThread[Any], key: str) -> Seen:
        return await thread.read(look(thread, key, self._lost, counts=False), NOWHERE)

    async def reports(self) -> list[LevelStats]:
        """The figures of each level."""
        sizes = await asyncio.gather(*(thread.read(lambda level: level.size(), (0, 0)) for thread in self.threads))
        below = [thread.meter.report(*size) for thread, size in zip(self.threads, sizes, strict=True)]
        return [self.meter.report(*self.memory.size()), *below]

    async def delete(self, keys: Sequence[str]) -> int:
        """Removes `keys` from all levels; the number on the level that had most."""
        counts = [self.memory.delete(keys)]
        doing = (thread.write(lambda level: level.delete(keys), 0, keys) for thread in self.threads)
        return max(counts + await asyncio.gather(*doing))

    async def clear(self) -> tuple[int, list[str]]:
        """Removes all entries; the number on the level that had most, and the names of levels that fail."""
        in_memory = self.memory.clear()
        counts = await asyncio.gather(*(thread.clear() for thread in self.threads))
        keeping = [thread.name for thread, count in zip(self.threads, counts, strict=True) if count is None]
        return max(in_memory, *(count or 0 for count in counts), 0), keeping

    def failing(self) -> list[str]:
        """Names of the levels that fail."""
        return [thread.name for thread in self.threads if thread.failing]

    async def close(self) -> None:
        await asyncio.gather(*(thread.close() for thread in self.threads))
