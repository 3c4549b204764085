"""The cache levels together, against a dict as reference; and failures of a level."""

import asyncio
import random
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
from llmctld.cache.entries.book import Book
from llmctld.cache.entries.selection import EntryFilter
from llmctld.cache.eviction import POLICIES, Item
from llmctld.cache.level import Stored
from llmctld.cache.levels.answers import encode
from llmctld.cache.levels.disk import DiskLevel, Held
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.cache.levels.memory import MemoryLevel
from llmctld.cache.levels.tiers import Tiers

from llmctl.errors import Storage
from llmctl.wire import LevelStats
from tests.hub.scene import a_disk, a_stored, in_loop, some_tiers, until

TTL = 1000.0
MEMORY, DISK = 2000, 300_000
EPOCH = 1_700_000_000.0

keys = st.sampled_from(["a", "b", "c", "d"])
models = st.sampled_from(["m", "n"])
sizes = st.sampled_from([1, 500, 1500, 3000, 50_000])


def answer(text: str, model: str = "m", created: float = EPOCH) -> Stored:
    return a_stored(text, model, created)


class TiersAgainstADict(RuleBasedStateMachine):
    """The reference is a dict with the time of each answer: a hit must be the last answer stored.

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
        self.tiers = some_tiers(folder, MEMORY, DISK, TTL, book=Book(folder / "cache.db"))
        self.loop.run_until_complete(self.tiers.round())
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
        elif self.now - expected.created < TTL:  # exactly at the expiry both are right
            assert hit is not None
            assert hit.answer == expected
            assert hit.age == self.now - expected.created
        self.hits += hit is not None

    @rule(seconds=st.sampled_from([1.0, 9.0, 590.0, 1001.0]))
    def wait_a_while(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.loop.run_until_complete(self.tiers.delete([key]))
        self.model.pop(key, None)

    @rule(model=st.none() | models)
    def clear(self, model: str | None) -> None:
        self.loop.run_until_complete(self.tiers.clear(EntryFilter(model)))
        self.model = {key: stored for key, stored in self.model.items() if model not in (None, stored.first.model)}

    @precondition(lambda self: self.serial)
    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.tiers.close())
        self.open()

    @invariant()
    def figures_agree(self) -> None:
        stats = self.loop.run_until_complete(self.tiers.report.stats())
        memory, disk = stats.levels
        assert memory.bytes <= MEMORY
        assert disk.bytes <= DISK
        assert stats.requests == self.lookups
        assert memory.hits + disk.hits == self.hits
        assert memory.hits + memory.misses == self.lookups
        assert (memory.errors, disk.errors, disk.state) == (0, 0, "ok")
        assert stats.saved_s == 2.0 * self.hits

    @rule()
    def note(self) -> None:
        """After a round, cache.db agrees with the disk."""
        self.loop.run_until_complete(self.tiers.round())
        book, (disk,) = self.tiers.required_book, self.tiers._threads
        nothing: list[Held] = []

        async def on_disk() -> list[Held]:
            return await disk.read(DiskLevel.held, nothing)

        held = self.loop.run_until_complete(on_disk())
        rows = self.loop.run_until_complete(book.held())
        assert {entry.key for entry in held if entry.expires > self.now} == {
            row.key for row in rows if row.expires > self.now
        }
        for row in (row for row in rows if row.expires > self.now):
            assert (row.model, row.created) == (self.model[row.key].first.model, self.model[row.key].created)

    def teardown(self) -> None:
        self.loop.run_until_complete(self.tiers.close())
        self.loop.close()
        time.time = self.clock
        self.folder.cleanup()


TestTiersAgainstADict = TiersAgainstADict.TestCase
TestTiersAgainstADict.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


# ---- the memory level by itself -------------------------------------------------------------------------------------


def a_memory(limit: int) -> MemoryLevel:
    return MemoryLevel(limit, POLICIES["lru"](limit))


def put(memory: MemoryLevel, key: str, value: bytes, lifetime: float = 1000.0) -> list[str]:
    return memory.put(key, value, time.time() + lifetime, Item(len(value), 1.0))


def held(memory: MemoryLevel, keys: str) -> list[str]:
    return [key for key in keys if memory.peek(key) is not None]


def test_memory_keeps_the_most_recently_used_entries() -> None:
    memory = a_memory(30)
    for key in "abc":
        put(memory, key, b"x" * 10)
    found = memory.get("a")
    assert found is not None
    assert found.value == b"x" * 10
    assert put(memory, "d", b"x" * 10) == ["b"]
    assert held(memory, "abcd") == ["a", "c", "d"]
    assert memory.size() == (3, 30)


@pytest.mark.parametrize("eviction", sorted(POLICIES))
def test_memory_stays_below_its_limit_whatever_the_policy(eviction: str) -> None:
    memory, dice = MemoryLevel(1000, POLICIES[eviction](1000)), random.Random(1)
    for number in range(500):
        key = f"{number % 60}"
        out = put(memory, key, bytes(dice.randrange(300)))
        assert (key in out) == (not memory.exists([key]))
        memory.get(f"{dice.randrange(60)}")
        memory.delete([f"{dice.randrange(60)}"])
        entries, size = memory.size()
        assert size == sum(len(found.value) for found in memory._values.values()) <= 1000
        assert entries == len(memory._policy)


def test_memory_drops_the_old_value_when_the_new_one_is_too_large() -> None:
    memory = a_memory(30)
    put(memory, "a", b"old")
    assert put(memory, "a", b"x" * 31) == ["a"]
    assert memory.get("a") is None
    assert memory.size() == (0, 0)


def test_memory_serves_no_expired_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = a_memory(30)
    put(memory, "a", b"x", 10)
    put(memory, "b", b"y", 10)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 11)
    assert memory.exists(["a"]) == set()
    assert memory.get("a") is None
    assert memory.sweep() == ["b"]
    assert memory.size() == (0, 0)


def test_a_memory_level_of_zero_bytes_stores_nothing() -> None:
    memory = a_memory(0)
    assert put(memory, "a", b"x") == ["a"]
    assert memory.get("a") is None
    assert memory.clear() == 0


# ---- a level that fails ---------------------------------------------------------------------------------------------


async def state(tiers: Tiers) -> LevelStats:
    return (await tiers.report.stats()).levels[1]


@pytest.mark.parametrize(
    "error", [PermissionError(13, "denied"), sqlite3.OperationalError("unable to open database file")]
)
@in_loop
async def test_a_disk_level_that_cannot_be_opened_is_skipped(error: Exception) -> None:
    def refuse(repair: bool) -> DiskLevel:
        raise error

    tiers = Tiers(a_memory(2**20), [LevelThread("disk", refuse, 2**20)], TTL)
    await tiers.put("k", answer("text", created=time.time()))
    hit = await tiers.get("k", None)
    assert hit is not None
    assert hit.level == "memory"
    assert await tiers.get("other", None) is None
    assert (await state(tiers)).state == "failing"
    with pytest.raises(Storage, match="cannot be removed"):
        await tiers.clear(None)
    assert await tiers.get("k", None) is None, "what could be removed is gone"
    await tiers.close()


@in_loop
async def test_put_reports_rejected_answers_but_not_later_evictions(tmp_path: Path) -> None:
    small = 2 * len(encode(answer("text"))) - 1  # one answer fits
    for policy, took in (("lru", [True, True]), ("wtinylfu", [True, False])):
        tiers = Tiers(MemoryLevel(small, POLICIES[policy](small)), ttl=TTL)
        assert [(await tiers.put(key, answer("text", created=time.time()))).taken for key in "ab"] == took
        assert tiers._memory.size()[0] == 1
        await tiers.close()
    tiers = some_tiers(tmp_path, memory=10)
    assert (await tiers.put("k", answer("text", created=time.time()))).taken, "the disk took it"
    with closing(sqlite3.connect(tmp_path / "answers" / "cache.db", isolation_level=None)) as other:
        other.execute("ALTER TABLE Cache RENAME TO Elsewhere")
        assert not (await tiers.put("k", answer("text", created=time.time()))).taken, "the disk fails"
    await tiers.close()


@in_loop
async def test_a_level_that_raises_an_unexpected_error_fails_no_request(tmp_path: Path) -> None:
    tiers = some_tiers(tmp_path)
    await tiers.put("k", answer("text", created=time.time()))
    with closing(sqlite3.connect(tmp_path / "answers" / "cache.db")) as other, other:
        other.execute("UPDATE Cache SET expire_time = 'never'")
    for memory in (True, False):
        if not memory:
            tiers._memory.clear()
        assert (await tiers.get("k", None) is not None) is memory
    await tiers.put("k", answer("text", created=time.time()))
    assert await tiers.get("k", None) is not None
    await tiers.close()


@in_loop
async def test_a_disk_level_whose_folder_was_removed_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmctld.cache.levels.level_thread.REOPEN_S", 0.0)
    tiers = some_tiers(tmp_path, memory=10)
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
async def test_a_failing_disk_level_recovers_once_the_disk_works(tmp_path: Path) -> None:
    tiers = some_tiers(tmp_path, memory=10)
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
    assert (await state(tiers)).state == "failing", "it can be read; whether it can be written is not known yet"
    await tiers.put("k", answer("text", created=time.time()))
    assert (await state(tiers)).state == "ok"
    await tiers.close()


@pytest.mark.parametrize("planted", [b"", b"not an answer", b"\x93\x01\x02\x03", b"\xc1"])
@in_loop
async def test_an_invalid_value_is_a_miss(tmp_path: Path, planted: bytes) -> None:
    with closing(a_disk(tmp_path / "answers")) as disk:
        disk.put("k", planted, time.time() + TTL, Item(1, 1.0))
    tiers = some_tiers(tmp_path)
    assert await tiers.get("k", None) is None
    assert (await state(tiers)).errors == 1
    await tiers.put("k", answer("text", created=time.time()))
    assert await tiers.get("k", None) is not None
    await tiers.close()


@in_loop
async def test_without_a_disk_level_only_memory_is_used(tmp_path: Path) -> None:
    tiers = some_tiers()
    await tiers.put("k", answer("text", created=time.time()))
    assert await tiers.get("k", None) is not None
    assert await tiers.get("other", None) is None
    assert (await tiers.report.stats()).hit_rate == 0.5
    await tiers.close()


@in_loop
async def test_a_disk_hit_is_promoted_to_memory(tmp_path: Path) -> None:
    for expected in ("disk", "disk"):
        tiers = some_tiers(tmp_path)
        if await tiers.get("k", None) is None:
            await tiers.put("k", answer("text", created=time.time()))
            await tiers.close()
            continue
        for level in ("memory", "memory"):
            hit = await tiers.get("k", None)
            assert hit is not None
            assert (hit.level, hit.answer.first.text) == (level, "text")
        assert (await state(tiers)).hits == 1, expected
        await tiers.close()


@in_loop
async def test_levels_close_even_if_a_change_arrives_in_the_same_turn(tmp_path: Path) -> None:
    tiers = some_tiers(tmp_path, MEMORY, DISK, TTL, book=Book(tmp_path / "cache.db"))
    tiers.start()
    maintenance = tiers._maintenance
    assert maintenance is not None
    stir = maintenance._stir
    await until(lambda: bool(stir._waiters))  # the first round is over
    maintenance.hit("a key")
    await asyncio.sleep(0)  # the wait for a change has ended, and its task has not run yet
    await tiers.close()
    assert maintenance._task is not None
    assert maintenance._task.cancelled()


@in_loop
async def test_answers_of_a_wrong_clock_are_neither_served_nor_kept_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    years = 20 * 365 * 86_400.0
    tiers = some_tiers(tmp_path, MEMORY, DISK, TTL, book=Book(tmp_path / "cache.db"))
    now = time.time()
    for when, key in (
        (now, "a"),
        (now + years, "b"),
        (now + 60.0, "c"),
    ):  # another machine's clock may be a minute ahead
        with monkeypatch.context() as clock:
            clock.setattr(time, "time", lambda when=when: when)
            await tiers.put(key, answer(key, created=when))
    assert [await tiers.get(key, None) is not None for key in "abc"] == [True, False, True]
    await tiers.round()
    assert await tiers.keys() == {"a", "c"}
    assert await tiers._threads[0].read(lambda level: level.exists(["a", "b", "c"]), set()) == {"a", "c"}
    await tiers.close()
