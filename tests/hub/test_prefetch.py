"""Prefetch: learned sequences, gain and waste, and the loop, on a simulated clock."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from llmctld.cache.entries.selection import EntryFilter
from llmctld.cache.prefetch.payoff import CHANCE, JUDGED, REQUESTS, RIGHT, STEPS, TRIAL, Payoff, PendingAnswer
from llmctld.cache.prefetch.prefetch import Answered, Computed, NotNow, Prefetcher, open_prefetcher, parse_answer_s
from llmctld.cache.prefetch.sequences import FOLLOWERS, SESSION_S, Sequences

from llmctl.config import Prefetch as Settings
from llmctl.errors import ConfigError, EngineFailed
from tests.hub.scene import in_loop, until

EPOCH = 1_700_000_000.0


# ---- what follows what ----------------------------------------------------------------------------------------------


def walk(sequences: Sequences, steps: str, person: str = "ana", group: str = "ana", gap: float = 10.0) -> float:
    """Each letter is a request; a space ends the session. The time after the last one."""
    now = EPOCH
    for step in steps:
        now += SESSION_S + 1 if step == " " else gap
        if step != " ":
            sequences.add_request(group, person, step, now)
    return now


def test_a_following_request_is_predicted_with_its_usual_delay() -> None:
    sequences = Sequences()
    walk(sequences, "ab ab ab")
    guess = sequences.guess("ana", "a")
    assert guess is not None
    assert (guess.key, guess.gap) == ("b", 10.0)
    assert guess.chance > CHANCE
    assert sequences.guess("ana", "b") is None, "the session ended there"
    assert sequences.guess("ana", "z") is None


def test_counts_decay_so_that_a_new_habit_wins_soon() -> None:
    sequences = Sequences()
    walk(sequences, "ab " * 100)
    walk(sequences, "ac " * 8)
    guess = sequences.guess("ana", "a")
    assert guess is not None
    assert guess.key == "c"


def test_the_end_of_a_session_counts_against_the_prediction() -> None:
    sequences = Sequences()
    walk(sequences, "ab a a a ab a a a ab a")
    guess = sequences.guess("ana", "a")
    assert guess is not None
    assert guess.chance < CHANCE


def test_a_repeated_request_does_not_count_as_a_step() -> None:
    sequences = Sequences()
    walk(sequences, "aab aab aab")
    guess = sequences.guess("ana", "a")
    assert guess is not None
    assert guess.key == "b"


def test_the_probability_of_a_prediction_is_measured() -> None:
    """If requests seen once never come again, a request seen once is not predicted."""
    sequences = Sequences()
    assert sequences.guess("ana", "a") is None
    walk(sequences, "ab ab")
    first = sequences.guess("ana", "a")
    assert first is not None
    walk(sequences, "cd cd ce fg fg fh ij ij ik lm lm ln op op oq")
    later = sequences.guess("ana", "a")
    assert later is not None
    assert later.chance < 0.4 < CHANCE < first.chance


def test_habits_are_separate_per_group_and_shared_within_a_group() -> None:
    sequences = Sequences()
    walk(sequences, "ab ab ab", person="ana", group="ana")
    assert sequences.guess("bob", "a") is None
    walk(sequences, "ab ab ab", person="ana", group="")
    sequences.add_request("", "bob", "a", EPOCH)
    sequences.add_request("", "eve", "x", EPOCH + 1)
    sequences.add_request("", "bob", "b", EPOCH + 2)
    assert sequences.guess("", "a") is not None
    assert sequences.guess("", "x") is None, "what another person asks is no step of this one's"


def test_requests_that_bypass_the_cache_lower_the_chance_of_a_prediction() -> None:
    sequences = Sequences()
    for number in range(20):
        sequences.add_request("ana", "ana", "ab"[number % 2], EPOCH + number, takes=False)
    guess = sequences.guess("ana", "a")
    assert guess is not None
    assert (guess.key, guess.chance < 0.4) == ("b", True)


def test_the_rarest_of_too_many_followers_is_dropped() -> None:
    sequences = Sequences()
    walk(sequences, " ".join(["ab", "ab", *(f"a{letter}" for letter in "cdefghijkl")]))
    assert len(sequences.rows["ana", "a"].follows) == FOLLOWERS
    assert "b" in sequences.rows["ana", "a"].follows


def test_a_forgotten_key_is_removed_as_request_and_as_follower() -> None:
    sequences = Sequences()
    walk(sequences, "abc abc")
    sequences.forget({"b"})
    assert ("ana", "b") not in sequences.rows
    assert sequences.guess("ana", "a") is None
    sequences.add_request("ana", "ana", "z", EPOCH)


# ---- whether it paid ------------------------------------------------------------------------------------------------


def entry(seconds: float = 1.0, needless_before: float = 0.0) -> PendingAnswer:
    return PendingAnswer("ana", seconds, EPOCH + 100, needless_before)


def test_a_prefetched_answer_served_in_time_is_gain() -> None:
    payoff = Payoff()
    payoff.add_prefetched("k", entry(2.0), EPOCH)
    payoff.add_request("ana", "k", True, EPOCH + 5)
    assert (payoff.prefetched, payoff.used, payoff.gain_s, payoff.wasted, payoff.open) == (1, 1, 2.0, 0, {})


@pytest.mark.parametrize("why", ["time", "requests", "not served", "needless", "computed again"])
def test_a_prefetched_answer_not_served_in_time_is_waste(why: str) -> None:
    payoff = Payoff()
    payoff.add_prefetched("k", entry(2.0, needless_before=EPOCH + 50 if why == "needless" else 0.0), EPOCH)
    if why == "time":
        payoff.sweep(EPOCH + 100)
    elif why == "requests":
        for number in range(REQUESTS):
            assert payoff.open
            payoff.add_request("bob", f"other {number}", False, EPOCH)
            payoff.add_request("ana", f"other {number}", False, EPOCH)
    elif why == "computed again":
        payoff.add_prefetched("k", entry(3.0), EPOCH)
    else:
        payoff.add_request("ana", "k", why != "not served", EPOCH + 1)
    assert (payoff.used, payoff.gain_s, payoff.wasted, payoff.waste_s) == (0, 0.0, 1, 2.0)


def test_a_cancelled_computation_is_waste_and_a_joined_one_gain() -> None:
    payoff = Payoff()
    payoff.add_cancelled(0.5, EPOCH)
    payoff.add_joined(0.25, EPOCH)
    assert (payoff.prefetched, payoff.wasted, payoff.waste_s, payoff.used, payoff.gain_s) == (2, 1, 0.5, 1, 0.25)


def test_prefetch_stops_when_waste_exceeds_gain_and_resumes_on_right_predictions() -> None:
    payoff = Payoff()
    for _ in range(JUDGED):
        assert payoff.stopped is None
        payoff.add_cancelled(1.0, EPOCH)
    assert payoff.stopped == EPOCH
    assert "waste exceeds gain: of the last 12 prefetched answers 0 were requested" in (payoff.stop_reason() or "")
    for number in range(TRIAL):
        assert payoff.stopped is not None
        payoff.add_prediction(0.2, True)  # for that one nothing would have been computed
        payoff.add_prediction(0.9, number < RIGHT)
    assert payoff.stopped is None
    assert payoff.stop_reason() is None


def test_each_stop_requires_more_right_predictions_to_resume() -> None:
    payoff = Payoff()
    for stops in range(1, 4):
        for _ in range(JUDGED):
            payoff.add_cancelled(1.0, EPOCH)
        assert payoff.stopped is not None
        assert payoff.stops == stops
        assert f"of {TRIAL * 2 ** (stops - 1)} consecutive predictions" in (payoff.stop_reason() or "")
        for _ in range(TRIAL * 2 ** (stops - 1)):
            assert payoff.stopped is not None
            payoff.add_prediction(0.9, True)
        assert payoff.stopped is None


def test_gain_and_waste_are_counted_in_seconds_and_not_answers() -> None:
    payoff = Payoff()
    for number in range(20):
        payoff.add_prefetched("k", entry(5.0 if number % 4 == 0 else 1.0), EPOCH)
        payoff.add_request("ana", "k", number % 4 == 0, EPOCH)
    assert payoff.stopped is None
    assert (payoff.gain_s, payoff.waste_s) == (25.0, 15.0)


def test_a_test_setting_makes_each_computation_count_a_fixed_time() -> None:
    assert parse_answer_s({}) is parse_answer_s({"LLMCTL_PREFETCH_ANSWER_S": ""}) is None
    assert parse_answer_s({"LLMCTL_PREFETCH_ANSWER_S": "1.5"}) == 1.5
    with pytest.raises(ConfigError, match="LLMCTL_PREFETCH_ANSWER_S is 'one', but must be a number of seconds"):
        parse_answer_s({"LLMCTL_PREFETCH_ANSWER_S": "one"})


def test_too_few_predictable_requests_are_reported_as_the_reason() -> None:
    payoff = Payoff()
    for _ in range(STEPS - 1):
        payoff.add_prediction(0.3, False)
    assert payoff.stop_reason() is None
    payoff.add_prediction(0.3, False)
    assert "nothing to predict: of the last 30 requests 0 could be predicted" in (payoff.stop_reason() or "")
    for _ in range(4):
        payoff.add_prediction(0.8, True)
    assert payoff.stop_reason() is None


def test_the_budget_counts_the_last_hour() -> None:
    payoff = Payoff()
    payoff.add_start(EPOCH)
    payoff.add_start(EPOCH + 1800)
    assert payoff.starts_left(3, EPOCH + 1800) == 1
    assert payoff.starts_left(3, EPOCH + 3600) == 2
    assert payoff.starts_left(1, EPOCH + 1800) == 0


def test_the_budget_ignores_what_a_wrong_clock_counted() -> None:
    payoff = Payoff()
    for _ in range(5):
        payoff.add_start(20 * 365 * 86_400.0)
    assert payoff.starts_left(5, 0.0) == 5


# ---- the loop -------------------------------------------------------------------------------------------------------


class Desk:
    """A prefetch whose user asks letters; `stored` says until when each is there, `life` how long what is computed lasts."""

    def __init__(self, path: Path, budget: int = 100, kept_s: float = 86400.0) -> None:
        self.path, self.settings, self.kept_s = path, Settings(enabled=True, budget_per_hour=budget), kept_s
        self.now, self.life = EPOCH, 50.0
        self.life_s: float | None = None
        self.stored: dict[str, float] = {}
        self.computed: list[str] = []
        self.compute: Callable[[bytes], Awaitable[Computed | None]] = self.answer

    async def answer(self, body: bytes) -> Computed | None:
        key = body.decode()
        self.computed.append(key)
        self.stored[key] = self.now + self.life
        return Computed(key, self.stored[key])

    async def expires(self, key: str) -> float | None:
        until = self.stored.get(key, 0.0)
        return until if until > self.now else None

    async def open(self) -> None:
        async def quiet() -> None:
            await asyncio.sleep(0)

        self.prefetch = await open_prefetcher(
            self.path,
            lambda shelf: Prefetcher(
                self.settings,
                shelf,
                lambda body: self.compute(body),
                self.expires,
                quiet,
                self.kept_s,
                self.life_s,
                lambda: self.now,
            ),
        )

    async def ask(self, steps: str, person: str = "ana", again: bool = True) -> None:
        """Each letter is a request, a space ends the session; requested prefetches are computed after each."""
        for step in steps:
            self.now += SESSION_S + 1 if step == " " else 10.0
            if step == " ":
                continue
            served = self.stored.get(step, 0.0) > self.now
            if not served:
                self.stored[step] = self.now + self.life
            created = self.stored[step] - self.life
            body = step.encode if again else None
            self.prefetch.add_request(
                Answered(
                    person, person, step, self.now, created, True, step if served else None, False, "m", ["t"], body
                )
            )
            await self.rest()

    async def rest(self) -> None:
        await until(lambda: not self.prefetch.is_busy)

    def figures(self) -> tuple[int, int, int]:
        stats = self.prefetch.stats()
        return stats.prefetched, stats.used, stats.wasted


@asynccontextmanager
async def desk(path: Path, budget: int = 100, kept_s: float = 86400.0, now: float = EPOCH) -> AsyncIterator[Desk]:
    made = Desk(path / "prefetch.db", budget, kept_s)
    made.now = now
    await made.open()
    yield made
    await made.prefetch.close()


@in_loop
async def test_the_usual_next_request_is_computed_before_it_is_asked(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.ask("ab ab ab")
        assert it.computed == ["b"]
        await it.ask(" ab ab")
        assert it.computed == ["b"] * 3
        assert it.figures() == (3, 3, 0)
        assert it.prefetch.stats().state == "on"


@in_loop
async def test_a_stored_answer_that_lasts_long_enough_is_not_computed_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        it.life = 1e6
        await it.ask("ab ab ab ab ab")
        assert it.computed == []


@in_loop
async def test_an_answer_that_would_expire_before_its_request_is_computed_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.ask("ab ab ab")
        it.computed.clear()
        it.now += SESSION_S + 1
        it.stored["b"] = it.now + 25.0  # there when a is asked, and 10 s later still: not for certain
        await it.ask("a")
        assert it.computed == ["b"]
        assert it.prefetch.payoff.open["b"].needless_before == it.now + 15.0


@in_loop
async def test_an_answer_whose_ttl_is_shorter_than_the_delay_is_not_computed_twice(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        it.life = 5.0
        await it.ask("ab ab ab ab ab")
        assert it.computed == ["b"], "once, because only then its TTL is known"
        assert it.figures() == (1, 0, 1)


@in_loop
async def test_a_fixed_ttl_shorter_than_the_delay_prevents_prefetch_from_the_start(tmp_path: Path) -> None:
    made = Desk(tmp_path / "prefetch.db")
    made.life = made.life_s = 5.0
    await made.open()
    await made.ask("ab ab ab")
    assert made.computed == []
    await made.prefetch.close()


@in_loop
async def test_a_semantic_hit_on_a_prefetched_answer_counts_as_use(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.ask("ab ab ab a")
        it.prefetch.add_request(Answered("ana", "ana", "b?", it.now, it.now, True, "b", False, "m", [], None))
        assert it.figures() == (2, 2, 0)


@in_loop
async def test_the_hourly_budget_is_respected_and_reported(tmp_path: Path) -> None:
    async with desk(tmp_path, budget=2) as it:
        it.now = EPOCH
        await it.ask("ab ab ab")
        for _ in range(3):
            it.now -= SESSION_S - 20  # sessions of one hour
            await it.ask(" ab")
        assert it.prefetch.stats().budget_left <= 1
        it.prefetch.payoff.add_start(it.now)
        it.prefetch.payoff.add_start(it.now)
        assert "all 2 computations of this hour" in (it.prefetch.stats().reason or "")
        count = len(it.computed)
        await it.ask("ab")
        assert len(it.computed) == count
    async with desk(tmp_path / "..", budget=0) as it:
        stats = it.prefetch.stats()
        assert stats.state == "stopped"
        assert "budget_per_hour is 0" in (stats.reason or "")


@in_loop
async def test_only_the_last_request_of_a_person_triggers_prefetch(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.ask("ab " * 7 + "cd " * 7)
        it.computed.clear()
        it.stored.clear()
        gate = asyncio.Event()
        it.prefetch._quiet = gate.wait  # type: ignore[assignment]
        await asyncio.sleep(0)
        for step in "ac":
            it.now += 10
            it.prefetch.add_request(Answered("ana", "ana", step, it.now, it.now, True, None, False, "m", [], None))
        gate.set()
        await it.rest()
        assert it.computed == ["d"]


@in_loop
async def test_a_request_marked_as_not_repeatable_is_not_prefetched(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.ask("ab ab ab ab ab", again=False)
        assert it.computed == []


@in_loop
async def test_a_model_that_is_not_loaded_uses_no_budget(tmp_path: Path) -> None:
    async def compute(body: bytes) -> Computed | None:
        raise NotNow

    async with desk(tmp_path) as it:
        it.compute = compute
        await it.ask("ab ab ab ab ab")
        assert it.figures() == (0, 0, 0)
        assert it.prefetch.stats().budget_left == 100


@in_loop
async def test_a_failed_prefetch_is_not_retried_before_its_request_comes_again(tmp_path: Path) -> None:
    tried = []

    async def compute(body: bytes) -> Computed | None:
        tried.append(body)
        raise EngineFailed("it died")

    async with desk(tmp_path) as it:
        it.compute = compute
        await it.ask("ab ab ab ab ab")
        assert tried == [b"b"] * 3, "each time it had been asked since"
        await it.ask(" a a a")
        assert tried == [b"b"] * 4


@in_loop
async def test_a_computation_that_gives_way_to_a_user_is_waste(tmp_path: Path) -> None:
    async def compute(body: bytes) -> Computed | None:
        return None

    async with desk(tmp_path) as it:
        it.compute = compute
        await it.ask("ab ab ab")
        assert it.figures() == (1, 0, 1)


@in_loop
async def test_an_answer_under_another_key_or_stored_nowhere_is_waste(tmp_path: Path) -> None:
    for computed in (Computed("other", EPOCH * 2), Computed("b", None)):

        async def compute(body: bytes, computed: Computed = computed) -> Computed | None:
            return computed

        (tmp_path / computed.key).mkdir()
        async with desk(tmp_path / computed.key) as it:
            it.compute = compute
            await it.ask("ab ab ab")
            assert it.figures() == (1, 0, 1)


@in_loop
async def test_a_request_during_its_prefetch_gains_the_time_computed_so_far(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        began, go = asyncio.Event(), asyncio.Event()

        async def compute(body: bytes) -> Computed | None:
            began.set()
            await go.wait()
            return await it.answer(body)

        await it.ask("ab ab ")
        it.compute = compute
        it.now += 10
        it.prefetch.add_request(Answered("ana", "ana", "a", it.now, it.now, True, None, False, "m", [], None))
        await began.wait()
        it.now += 10
        it.prefetch.add_request(Answered("ana", "ana", "b", it.now, it.now, True, None, True, "m", [], None))
        go.set()
        await it.rest()
        assert it.figures() == (1, 1, 0)


@in_loop
async def test_learned_sequences_survive_a_restart(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.ask("ab ab ab")
        stats, trust = it.prefetch.stats(), it.prefetch.sequences.trust
        now = it.now
    async with desk(tmp_path, now=now) as it:
        assert it.prefetch.stats() == stats
        assert it.prefetch.sequences.trust == trust
        await it.ask(" a")
        assert it.computed == ["b"]


@in_loop
async def test_learned_sequences_are_written_once_a_second(tmp_path: Path) -> None:
    """So that a SIGKILL loses no more than that."""
    async with desk(tmp_path) as it:
        await it.ask("ab ab ab")

        def kept() -> int:
            with closing(sqlite3.connect(tmp_path / "prefetch.db")) as connection:
                return int(connection.execute("SELECT count(*) FROM followers").fetchone()[0])

        await until(lambda: kept() > 0)


@in_loop
async def test_a_learned_request_is_kept_as_long_as_its_answer_may_be(tmp_path: Path) -> None:
    async with desk(tmp_path, kept_s=1000.0) as it:
        await it.ask("ab ab ab")
        now = it.now
    with closing(sqlite3.connect(tmp_path / "prefetch.db")) as connection:
        assert len(connection.execute("SELECT * FROM requests").fetchall()) == 2
    made = Desk(tmp_path / "prefetch.db")
    made.now = now + 1001.0
    await made.open()
    await made.prefetch.close()
    with closing(sqlite3.connect(tmp_path / "prefetch.db")) as connection:
        assert connection.execute("SELECT * FROM requests").fetchall() == []


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (EntryFilter(None, None, [], None, None), set()),
        (EntryFilter("m", None, [], None, None), set()),
        (EntryFilter("other", None, [], None, None), {"a", "b", "c"}),
        (EntryFilter(None, "ana", [], None, None), {"c"}),
        (EntryFilter(None, None, ["t"], None, None), set()),
        (EntryFilter(None, None, ["t", "u"], None, None), {"a", "b", "c"}),
        (EntryFilter(None, None, [], 1e9, None), {"a", "b", "c"}),
        (EntryFilter(None, None, [], None, 1e9), set()),
    ],
)
@in_loop
async def test_cleared_answers_are_forgotten(tmp_path: Path, selection: EntryFilter, left: set[str]) -> None:
    async with desk(tmp_path) as it:
        await it.ask("ab ab ab")
        await it.ask("c", person="bob")
        await it.prefetch.forget(selection)
        assert await it.prefetch._store.select(EntryFilter(None, None, [], None, None), it.now) == left
        await it.ask(" a")
        assert it.computed == (["b"] * 2 if "b" in left else ["b"])


@pytest.mark.parametrize("damage", [b"no database", b""])
@in_loop
async def test_a_damaged_file_is_set_aside_and_created_anew(tmp_path: Path, damage: bytes) -> None:
    async with desk(tmp_path) as it:
        await it.ask("ab ab ab")
    path = tmp_path / "prefetch.db"
    if damage:
        path.write_bytes(damage * 1000)
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE followers SET row = x'c1'")
            connection.execute("UPDATE state SET value = x'c1'")
    async with desk(tmp_path) as it:
        assert it.figures() == (0, 0, 0)
        await it.ask("ab ab ab")
        assert it.computed == ["b"]
    assert bool(list(tmp_path.glob("prefetch.db.damaged-*"))) == bool(damage)


@in_loop
async def test_without_a_file_prefetch_works_and_stores_nothing(tmp_path: Path) -> None:
    made = Desk(tmp_path / "missing" / "prefetch.db")
    await made.open()
    await made.ask("ab ab ab")
    assert made.computed == ["b"]
    await made.prefetch.close()


@in_loop
async def test_a_file_of_a_newer_version_is_left_unchanged(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "prefetch.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    async with desk(tmp_path) as it:
        await it.ask("ab ab ab")
    with closing(sqlite3.connect(tmp_path / "prefetch.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)


@in_loop
async def test_a_failing_disk_does_not_stop_prefetch(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        with closing(sqlite3.connect(tmp_path / "prefetch.db", isolation_level=None)) as connection:
            connection.execute("DROP TABLE followers")
        await it.ask("ab ab ab")
        assert it.computed[:1] == ["b"]


def test_only_the_most_recent_requests_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmctld.cache.prefetch.store.REQUESTS", 2)

    @in_loop
    async def run() -> None:
        async with desk(tmp_path) as it:
            await it.ask("abcd")
            await it.prefetch._save()
            assert await it.prefetch._store.select(EntryFilter(None, None, [], None, None), it.now) == {"c", "d"}

    run()


# ---- a clock that was set -------------------------------------------------------------------------------------------

YEARS = 20 * 365 * 86_400.0


def test_prefetched_answer_of_the_future_is_dropped_and_counts_as_nothing() -> None:
    payoff = Payoff()
    payoff.add_prefetched("k", PendingAnswer("ana", 1.0, EPOCH + YEARS), EPOCH + YEARS)
    payoff.sweep(EPOCH)
    assert (payoff.open, payoff.used, payoff.wasted) == ({}, 0, 0)


@in_loop
async def test_requests_that_were_kept_while_the_clock_was_ahead_do_not_stay_for_years(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        right = it.now
        it.now += YEARS
        await it.ask("ab ab ab")
        it.now = right
        await it.ask("a")  # kept again, with the right time
    made = Desk(tmp_path / "prefetch.db")
    made.now = right + 100.0
    await made.open()
    await made.prefetch.close()
    with closing(sqlite3.connect(tmp_path / "prefetch.db")) as connection:
        assert connection.execute("SELECT key FROM requests").fetchall() == [("a",)]
