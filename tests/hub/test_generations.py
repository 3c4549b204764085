"""A promotion to a higher level in progress while its key changes: the removal or the newer answer wins."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from llmctld.cache.eviction import POLICIES
from llmctld.cache.level import CachedValue
from llmctld.cache.levels.generations import Generations
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.cache.levels.memory import MemoryLevel
from llmctld.cache.levels.tiers import Tiers

from tests.hub.scene import in_loop, some_tiers
from tests.hub.test_tiers import answer


class HeldLevel(MemoryLevel):
    """A level that pauses in the middle of a read, after it fetched the value."""

    name = "held"

    def __init__(self) -> None:
        super().__init__(2**20, POLICIES["lru"](2**20))
        self.reads, self.go = threading.Semaphore(0), threading.Event()

    def get(self, key: str) -> CachedValue | None:
        found = super().get(key)
        self.reads.release()
        self.go.wait()
        return found


async def a_promotion_under_way(folder: Path) -> tuple[Tiers, HeldLevel, "asyncio.Task[object]"]:
    """Memory, disk, and below them a level that alone holds `k`, with a lookup of `k` paused in its read."""
    held = HeldLevel()
    tiers = some_tiers(folder)
    tiers._threads.append(LevelThread("held", lambda repair: held, 2**20))
    await tiers.put("k", answer("old", created=time.time()))
    tiers._memory.delete(["k"])
    await tiers._threads[0].write(lambda disk: disk.delete(["k"]), 0)
    lookup: asyncio.Task[object] = asyncio.create_task(tiers.get("k", None))
    await asyncio.to_thread(held.reads.acquire)
    return tiers, held, lookup


async def above(tiers: Tiers) -> list[str | None]:
    """What memory and disk hold."""
    await asyncio.gather(*tiers._tasks)
    memory = tiers._memory.peek("k")
    disk = await tiers._threads[0].read(lambda level: level.get("k"), None)
    return [None if found is None else "new" if b"new" in found.value else "old" for found in (memory, disk)]


Change = Callable[[Tiers], Awaitable[object]]
CHANGES: dict[str, tuple[Change, list[str | None]]] = {
    "nothing": (lambda tiers: asyncio.sleep(0), ["old", "old"]),
    "delete": (lambda tiers: tiers.delete(["k"]), [None, None]),
    "clear": (lambda tiers: tiers.clear(), [None, None]),
    "refresh": (lambda tiers: tiers.put("k", answer("new", created=time.time())), ["new", "new"]),
    "another key": (lambda tiers: tiers.delete(["other"]), ["old", "old"]),
}


@pytest.mark.parametrize("change", CHANGES)
@in_loop
async def test_later_change_wins_over_an_earlier_promotion(tmp_path: Path, change: str) -> None:
    act, expected = CHANGES[change]
    tiers, held, lookup = await a_promotion_under_way(tmp_path)
    acting = asyncio.ensure_future(act(tiers))
    await asyncio.sleep(0)  # its synchronous part is done, and it waits for the paused level
    held.go.set()
    await asyncio.gather(lookup, acting)
    assert await above(tiers) == expected
    again = await tiers.get("k", None)
    assert (None if again is None else again.answer.first.text) == expected[0]
    await tiers.close()


def test_generation_numbers_are_kept_only_during_a_lookup() -> None:
    generations = Generations()
    with generations.looking("a") as first:
        generations.next("b")
        with generations.looking("a") as second:
            assert first()
            assert second()
            generations.next("a")
            assert not first()
            assert not second()
        with generations.looking("a") as third:
            assert third()
            assert not first()
            generations.next_of_all()
            assert not third()
    assert not generations._numbers
    assert not generations._lookers
