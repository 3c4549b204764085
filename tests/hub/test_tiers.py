"""The levels as one cache, against a dict; and what happens when a level fails."""

import asyncio
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from llmctld.cache.disk import Disk
from llmctld.cache.level import Stored
from llmctld.cache.memory import Memory
from llmctld.cache.tiers import Tiers

from llmctl.errors import Storage
from llmctl.wire import LevelStats, Usage
from tests.hub.scene import in_loop

TTL = 1000.0
MEMORY, DISK = 2000, 300_000
EPOCH = 1_700_000_000.0

keys = st.sampled_from(["a", "b", "c", "d"])
models = st.sampled_from(["m", "n"])
sizes = st.sampled_from([1, 500, 1500, 3000, 50_000])


def answer(text: str, model: str = "m", created: float = EPOCH) -> Stored:
    return Stored(model, text, None, "stop", Usage(1, 0, 2), created, 2.0)


class TiersAgainstADict(RuleBasedStateMachine):
    """The slow twin is a dict with the time of each answer: what is served must be the last thing that was stored.

    Nothing is lost either while everything fits on the disk, which it does here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.now, self.clock = EPOCH, time.time
        time.time = lambda: self.now
        self.model: dict[str, Stored] = {}
        self.lookups = self.hits = 0
        self.serial = 0
        self.open()

    def open(self) -> None:
        folder = Path(self.folder.name)
        self.memory = Memory(MEMORY)
        self.tiers = Tiers(self.memory, lambda: Disk(folder / "answers", DISK, TTL), TTL)
        self.lookups = self.hits = 0

    @rule(key=keys, model=models, size=sizes)
    def put(self, key: str, model: str, size: int) -> None:
        self.serial += 1
        stored = answer(f"{self.serial}:" + "x" * size, model, self.now)
        self.loop.run_until_complete(self.tiers.put(key, stored))
        self.model[key] = stored

    @rule(key=keys, max_age=st.none() | st.sampled_from([0.0, 10.0, 600.0, 5000.0]))
    def get(self, key: str, max_age: float | None) -> None:
        hit = self.loop.run_until_complete(self.tiers.get(key, max_age))
        expected = self.model.get(key)
        limit = TTL if max_age is None else min(TTL, max_age)
        self.lookups += 1
        if expected is None or self.now - expected.created > limit:
            assert hit is None
        elif self.now - expected.created < TTL:  # at the very edge both are right
            assert hit is not None
            assert hit.answer == expected
            assert hit.age == self.now - expected.created
        self.hits += hit is not None

    @rule(seconds=st.sampled_from([1.0, 9.0, 590.0, 1001.0]))
    def wait_a_while(self, seconds: float) -> None:
        self.now += seconds

    @rule(model=st.none() | models)
    def clear(self, model: str | None) -> None:
        self.loop.run_until_complete(self.tiers.clear(model))
        self.model = {key: stored for key, stored in self.model.items() if model not in (None, stored.model)}

    @precondition(lambda self: self.serial)
    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.tiers.close())
        self.open()

    @invariant()
    def figures_agree(self) -> None:
        stats = self.loop.run_until_complete(self.tiers.stats())
        memory, disk = stats.levels
        assert memory.bytes <= MEMORY
        assert disk.bytes <= DISK
        assert stats.requests == self.lookups
        assert memory.hits + disk.hits == self.hits
        assert memory.hits + memory.misses == self.lookups
        assert (memory.errors, disk.errors, disk.state) == (0, 0, "ok")
        assert stats.saved_s == 2.0 * self.hits

    def teardown(self) -> None:
        self.loop.run_until_complete(self.tiers.close())
        self.loop.close()
        time.time = self.clock
        self.folder.cleanup()


TestTiersAgainstADict = TiersAgainstADict.TestCase
TestTiersAgainstADict.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


# ---- the memory level by itself -------------------------------------------------------------------------------------


def test_memory_keeps_what_was_used_last() -> None:
    memory = Memory(30)
    for key in "abc":
        memory.put(key, b"x" * 10, "m")
    assert memory.get("a") == b"x" * 10
    memory.put("d", b"x" * 10, "m")
    assert [key for key in "abcd" if memory.get(key)] == ["a", "c", "d"]
    assert memory.size() == (3, 30)


def test_memory_keeps_no_older_value_when_the_newer_is_too_large() -> None:
    memory = Memory(30)
    memory.put("a", b"old", "m")
    memory.put("a", b"x" * 31, "m")
    assert memory.get("a") is None


def test_a_memory_of_nothing_keeps_nothing() -> None:
    memory = Memory(0)
    memory.put("a", b"x", "m")
    assert memory.get("a") is None
    assert memory.clear(None) == 0


# ---- a level that fails ---------------------------------------------------------------------------------------------


async def state(tiers: Tiers) -> LevelStats:
    return (await tiers.stats()).levels[1]


@pytest.mark.parametrize(
    "error", [PermissionError(13, "denied"), sqlite3.OperationalError("unable to open database file")]
)
@in_loop
async def test_a_disk_that_cannot_be_opened_is_passed_over(error: Exception) -> None:
    def refuse() -> Disk:
        raise error

    tiers = Tiers(Memory(2**20), refuse, TTL)
    await tiers.put("k", answer("text", created=time.time()))
    hit = await tiers.get("k", None)
    assert hit is not None
    assert hit.level == "memory"
    assert await tiers.get("other", None) is None
    assert (await state(tiers)).state == "failing"
    with pytest.raises(Storage, match="could not be removed"):
        await tiers.clear(None)
    assert await tiers.get("k", None) is None, "what could be removed is gone"
    await tiers.close()


@in_loop
async def test_a_disk_whose_folder_was_removed_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmctld.cache.tiers.REOPEN_S", 0.0)
    tiers = Tiers(Memory(10), lambda: Disk(tmp_path / "answers", 2**20, TTL), TTL)
    await tiers.put("before", answer("text", created=time.time()))
    shutil.rmtree(tmp_path / "answers")
    for number in range(3):
        await tiers.put(f"after {number}", answer("text", created=time.time()))
    assert (await state(tiers)).state == "ok"
    hit = await tiers.get("after 2", None)
    assert hit is not None
    assert hit.level == "disk"
    await tiers.close()


@in_loop
async def test_a_disk_that_refuses_fails_until_it_works_again(tmp_path: Path) -> None:
    tiers = Tiers(Memory(10), lambda: Disk(tmp_path / "answers", 2**20, TTL), TTL)
    await tiers.put("before", answer("text", created=time.time()))
    with closing(sqlite3.connect(tmp_path / "answers" / "cache.db", isolation_level=None)) as other:
        other.execute("ALTER TABLE Cache RENAME TO Elsewhere")
        await tiers.put("k", answer("text", created=time.time()))
        assert await tiers.get("before", None) is None, "a miss, not a failed request"
        failing = await state(tiers)
        assert failing.errors >= 2
        other.execute("ALTER TABLE Elsewhere RENAME TO Cache")
    hit = await tiers.get("before", None)
    assert hit is not None
    assert hit.level == "disk"
    assert (await state(tiers)).state == "ok"
    await tiers.close()


@pytest.mark.parametrize("planted", [b"", b"not an answer", b"\x93\x01\x02\x03", b"\xc1"])
@in_loop
async def test_what_is_no_answer_is_a_miss(tmp_path: Path, planted: bytes) -> None:
    with closing(Disk(tmp_path / "answers", 2**20, TTL)) as disk:
        disk.put("k", planted, "m")
    tiers = Tiers(Memory(2**20), lambda: Disk(tmp_path / "answers", 2**20, TTL), TTL)
    assert await tiers.get("k", None) is None
    assert (await state(tiers)).errors == 1
    await tiers.put("k", answer("text", created=time.time()))
    assert await tiers.get("k", None) is not None
    await tiers.close()


@in_loop
async def test_without_a_disk_memory_is_all(tmp_path: Path) -> None:
    tiers = Tiers(Memory(2**20), None, TTL)
    await tiers.put("k", answer("text", created=time.time()))
    assert await tiers.get("k", None) is not None
    assert await tiers.get("other", None) is None
    assert (await tiers.stats()).hit_rate == 0.5
    await tiers.close()


@in_loop
async def test_an_answer_from_the_disk_is_in_memory_the_next_time(tmp_path: Path) -> None:
    for expected in ("disk", "disk"):
        tiers = Tiers(Memory(2**20), lambda: Disk(tmp_path / "answers", 2**20, TTL), TTL)
        if await tiers.get("k", None) is None:
            await tiers.put("k", answer("text", created=time.time()))
            await tiers.close()
            continue
        for level in ("memory", "memory"):
            hit = await tiers.get("k", None)
            assert hit is not None
            assert (hit.level, hit.answer.text) == (level, "text")
        assert (await state(tiers)).hits == 1, expected
        await tiers.close()
