"""What the cache has learned, with real levels and a real index: recomputations are noticed and change lifetimes."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from llmctld.cache.entries.book import Book, row_of
from llmctld.cache.level import About
from llmctld.cache.levels.tiers import Tiers
from llmctld.cache.lifetimes.learned import Learned
from llmctld.cache.lifetimes.lifetime import DAY, HOUR, START
from llmctld.cache.lifetimes.question_kinds import TEXT, TIME
from llmctld.runtime.clock import WallClock

from tests.hub.scene import a_stored, in_loop, some_tiers

NOW = 1_700_000_000.0


class Clock:
    now = NOW


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", lambda: made.now)
    return made


@asynccontextmanager
async def learning(folder: Path, ttl: float | None = None) -> AsyncIterator[tuple[Tiers, Learned]]:
    learned = Learned(folder / "learned.json", ttl)
    tiers = some_tiers(folder, ttl=ttl, book=Book(folder / "cache.db"), expiry=learned)
    try:
        yield tiers, learned
    finally:
        await tiers.close()
        await learned.close()


async def compute(tiers: Tiers, clock: Clock, key: str, text: str, kind: str = TEXT) -> None:
    answer = a_stored(text, "m", clock.now)
    await tiers.put(key, answer, About(kind=kind))


@in_loop
async def test_new_answer_has_the_initial_lifetime_of_its_kind(tmp_path: Path, clock: Clock) -> None:
    async with learning(tmp_path) as (tiers, _):
        await compute(tiers, clock, "a", "x", TIME)
        await compute(tiers, clock, "b", "x", TEXT)
        clock.now += HOUR + 1
        assert await tiers.get("a", None) is None
        assert await tiers.get("b", None) is not None
        clock.now = NOW + 30 * DAY + 1
        assert await tiers.get("b", None) is None


@in_loop
async def test_stored_answer_expires_by_what_was_learned_later(tmp_path: Path, clock: Clock) -> None:
    async with learning(tmp_path) as (tiers, learned):
        for number in range(12):
            await compute(tiers, clock, f"k{number}", "old")
        clock.now += DAY
        assert await tiers.get("k0", None) is not None
        for number in range(1, 12):
            await compute(tiers, clock, f"k{number}", "new")
        assert learned.lifetimes.predict("k0", TEXT).seconds < DAY
        assert await tiers.get("k0", None) is None
        assert await tiers.peek("k0") is None
        assert await tiers.get("k1", None) is not None


@in_loop
async def test_case_and_spaces_do_not_count_as_a_change(tmp_path: Path, clock: Clock) -> None:
    async with learning(tmp_path) as (tiers, learned):
        await compute(tiers, clock, "k", "The answer")
        clock.now += DAY
        await compute(tiers, clock, "k", "the  answer\n")
        clock.now += DAY
        await compute(tiers, clock, "k", "another answer")
        found = learned.lifetimes.predict("k", TEXT).observations
        assert [(one.age, one.changed) for one in found] == [(DAY, False), (DAY, True)]


@in_loop
async def test_recomputed_answer_is_compared_with_an_expired_one(tmp_path: Path, clock: Clock) -> None:
    async with learning(tmp_path) as (tiers, learned):
        await compute(tiers, clock, "k", "old", TIME)
        clock.now += 2 * HOUR
        await tiers.round()
        assert await tiers.get("k", None) is None
        await compute(tiers, clock, "k", "new", TIME)
        (one,) = learned.lifetimes.predict("k", TIME).observations
        assert (one.age, one.changed) == (2 * HOUR, True)


@in_loop
async def test_configured_ttl_overrides_the_learned_lifetime(tmp_path: Path, clock: Clock) -> None:
    async with learning(tmp_path, ttl=2 * DAY) as (tiers, _):
        for text in ("one", "two", "three", "four"):
            await compute(tiers, clock, "k", text, TIME)
            clock.now += HOUR
        clock.now += DAY
        assert await tiers.get("k", None) is not None


@in_loop
async def test_learned_state_survives_a_restart(tmp_path: Path, clock: Clock) -> None:
    async with learning(tmp_path) as (tiers, learned):
        await compute(tiers, clock, "k", "old")
        clock.now += DAY
        await compute(tiers, clock, "k", "new")
        tiers.reuse.note(["user ana"], True)
        before = learned.lifetimes.predict("k", TEXT)
    async with learning(tmp_path) as (tiers, learned):
        assert learned.lifetimes.predict("k", TEXT) == before
        assert tiers.reuse.importance(["user ana"]) == 1.0
        shown = (await tiers.report.show(tiers.required_book, "k")).more["lifetime"]
        assert shown["observations"] == [{"age_s": DAY, "changed": True}]
        assert shown["from"] == "learned"
        assert shown["seconds"] < START[TEXT]


@in_loop
async def test_unwritable_folder_does_not_raise(tmp_path: Path, clock: Clock) -> None:
    learned = Learned(tmp_path / "nowhere" / "learned.json")
    learned.save_soon()
    await learned.close()


@in_loop
async def test_nothing_is_learned_from_answers_between_which_the_clock_was_set(tmp_path: Path) -> None:
    learned = Learned(tmp_path / "learned.json", None)
    years = 20 * 365 * 86_400.0
    for first, second in ((0.0, years), (years, 0.0)):
        before = row_of("k", a_stored("one", created=first), 1.0, 1)
        learned.recomputed(before, a_stored("one", created=second))
    assert learned.explain("k", a_stored("one"))["observations"] == []
    learned.recomputed(row_of("k", a_stored("one", created=0.0), 1.0, 1), a_stored("one", created=60.0))
    assert learned.explain("k", a_stored("one"))["observations"] == [{"age_s": 60.0, "changed": False}]


@in_loop
async def test_nothing_is_learned_while_the_clock_is_wrong_by_less_than_the_longest_lifetime(tmp_path: Path) -> None:
    hands = [1000.0, 1000.0]
    learned = Learned(tmp_path / "learned.json", None, WallClock(lambda: hands[0], lambda: hands[1]))
    before = row_of("k", a_stored("one", created=1000.0), 1.0, 1)
    hands[0] += 100 * DAY
    learned.recomputed(before, a_stored("one", created=hands[0]))
    assert learned.explain("k", a_stored("one"))["observations"] == []
    hands[0] -= 100 * DAY
    learned.recomputed(before, a_stored("one", created=1060.0))
    assert learned.explain("k", a_stored("one"))["observations"] == [{"age_s": 60.0, "changed": False}]
    await learned.close()
