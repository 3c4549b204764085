"""Prefetch in the running hub: likely next requests are computed early, give way to users, and stop without gain."""

import itertools
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import psutil
import pytest

from llmctl import Client, config
from llmctl.paths import find_paths
from tests.e2e.house import House, until
from tests.e2e.house import house as a_house

ON = {
    "LLMCTL_CACHE__PREFETCH__ENABLED": "true",
    "LLMCTL_CACHE__PREFETCH__BUDGET_PER_HOUR": "1000",
    "LLMCTL_PREFETCH_ANSWER_S": "1",
}
"""Each computation counts as one second: whether it pays must not depend on what other programs do."""
FORGETFUL = ON | {"LLMCTL_CACHE__DISK_BYTES": "0", "LLMCTL_CACHE__MEMORY_BYTES": "600", "LLMCTL_CACHE__EVICTION": "lru"}
"""Three answers and no more are stored: what was asked a few requests ago is not there any more."""


@contextmanager
def client(house: House) -> Iterator[Client]:
    """The Python client in this process: hundreds of requests without a process each."""
    environ = {"LLMCTL_HOME": str(house.place)}
    with Client(paths=find_paths(environ), config=config.Config(), user="ana") as made:
        yield made


def stats(house: House) -> dict[str, Any]:
    return next(line for line in house.ok("cache", "stats", "--json").lines if line["level"] == "prefetch")


def ledger(house: House) -> dict[str, Any]:
    with closing(sqlite3.connect(house.place / "cache" / "prefetch.db", timeout=5)) as connection:
        ((blob,),) = connection.execute("SELECT value FROM state WHERE name = 'ledger'")
        return dict(msgspec.msgpack.decode(blob))


def settle(house: House) -> None:
    """Returns once no prefetch is running or pending."""
    until(lambda: not stats(house)["busy"], what="prefetch is done")


def sessions(count: int) -> list[str]:
    """Sequences: in four of five B follows A, then something else comes."""
    chance, found = random.Random(1), []
    for session in range(count):
        number = session % 3
        second = f"C{chance.randrange(50)}" if session // 3 % 5 == 3 else f"B{number}"
        found += [f"A{number}", second, f"D{chance.randrange(50)}", f"D{chance.randrange(50)}"]
    return found


def ask_all(house: House, prompts: Sequence[str]) -> list[tuple[str, str | None]]:
    """Asks each prompt and returns it with its cache level; the hub has time to prefetch after each."""
    with client(house) as asking:
        found = []
        for prompt in prompts:
            found.append((prompt, asking.ask(prompt).cache.hit))
            until(lambda: not busy(asking), what="prefetch is done")
        return found


def busy(asking: Client) -> bool:
    from llmctl import wire

    found = asking.call(wire.GetCacheStats())
    assert isinstance(found, wire.CacheStats)
    assert found.prefetch is not None
    return found.prefetch.busy


def test_regular_sequences_are_half_prefetched_with_at_most_a_quarter_wasted() -> None:
    with a_house(**FORGETFUL) as house:
        house.echo(token_ms=1)
        asked = ask_all(house, sessions(24))
        hits = [hit for prompt, hit in asked if prompt[0] == "B"]
        assert sum(hit == "memory" for hit in hits) >= len(hits) / 2, hits
        found = stats(house)
        assert found["state"] == "on"
        assert found["used"] >= len(hits) / 2
        assert (found["waste_s"], found["gain_s"]) == (found["wasted"], found["used"]), "a second each"
        assert found["wasted"] <= 0.25 * (found["wasted"] + found["used"]), found
        text = house.ok("cache", "stats").out
        assert f"prefetch is on: {found['prefetched']} answers prefetched, {found['used']} used" in text
        assert house.ok("cache", "stats", "--json").lines[-1]["level"] == "all"
        house.stop()
        assert stats(house) == found | {"busy": False}, "also while no hub runs"
        house.ok("daemon", "start")
        assert stats(house) == found, "and by the next one"


def test_random_order_stops_prefetch_and_the_reason_is_reported() -> None:
    with a_house(**FORGETFUL) as house:
        house.echo(token_ms=1)
        prompts = sessions(24)
        random.Random(2).shuffle(prompts)
        ask_all(house, prompts)
        found = stats(house)
        assert found["prefetched"] <= 50
        assert found["state"] == "stopped"
        assert any(words in found["reason"] for words in ("waste exceeds gain", "nothing to predict")), found
        assert found["reason"] in house.ok("cache", "stats").out


def test_evicted_answers_stop_prefetch_although_every_prediction_is_right() -> None:
    """Answers of another user evict what was prefetched before it is asked for."""
    with a_house(**FORGETFUL) as house:
        house.echo(token_ms=1)
        with client(house) as asking:
            for _ in range(9):
                for prompt in ("first", "second"):
                    assert asking.ask(prompt).cache.hit is None
                    until(lambda: not busy(asking), what="prefetch is done")
                    push_out(asking)
        found = stats(house)
        assert (found["used"], found["gain_s"], found["state"]) == (0, 0.0, "stopped")
        assert found["prefetched"] <= 20
        assert "waste exceeds gain: of the last 12 prefetched answers 0 were requested" in found["reason"]
        assert found["reason"] in house.ok("cache", "stats").out
        until(lambda: ledger(house)["stopped"], what="it is written down, once a second")
        house.hub().kill()
        assert house.ended()
        house.ok("daemon", "start")
        assert stats(house)["state"] == "stopped", "also after a crash"


def learned(house: House, *prompts: str, user: str, times: int = 3, **options: Any) -> None:
    """Asks these prompts in order, often enough to be learned, and evicts their answers."""
    with client(house) as asking:
        for _ in range(times):
            for prompt in prompts:
                asking.ask(prompt, user=user, **options)
            push_out(asking)


fillers = itertools.count()


def push_out(asking: Client) -> None:
    """Evicts all stored answers by requests of another user."""
    for _ in range(4):
        asking.ask(f"filler {next(fillers)}", user="filler")


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """Each test has a user of its own."""
    with a_house(**FORGETFUL) as made:
        yield made.echo(token_ms=1)


@pytest.fixture
def new() -> Iterator[House]:
    """For a test in which something must be prefetched: gains, waste and lost predictions of others would stop it."""
    with a_house(**FORGETFUL) as made:
        yield made.echo(token_ms=1)


def own(house: House, prompt: str) -> list[dict[str, Any]]:
    return house.records("user, state, hit, conversation", f"prompt = '{prompt}' AND user = '_llmctl'")


def test_prefetched_requests_have_the_hub_s_own_label_and_no_conversation(new: House) -> None:
    learned(new, "charge 1", "charge 2", user="chu")
    new.ok("ask", "charge 1", "--user", "chu")
    until(lambda: own(new, "charge 2"), what="it was computed beforehand")
    assert own(new, "charge 2")[0]["state"] == "done"
    last = new.records("conversation", "user = 'chu'")[-1]["conversation"]
    new.ok("ask", "go on", "-c", "--user", "chu")
    assert new.records("conversation", "user = 'chu'")[-1]["conversation"] == last
    assert "charge 2" not in new.log.read_text(), "the log contains no text of requests"


def test_habits_of_one_user_trigger_no_prefetch_for_another(new: House) -> None:
    learned(new, "cross 1", "cross 2", user="ann")
    new.ok("ask", "cross 1", "--user", "ann")
    until(lambda: own(new, "cross 2"), what="it was computed beforehand for her")
    count = len(own(new, "cross 2"))
    new.ok("ask", "cross 1", "--user", "ben")
    settle(new)
    assert len(own(new, "cross 2")) == count


@pytest.mark.parametrize("options", [{"no_cache": True}, {"temperature": 0.7}, {"max_age": "1h"}], ids=str)
def test_requests_with_options_that_prevent_reuse_are_not_prefetched(house: House, options: dict[str, Any]) -> None:
    (user,) = options
    learned(house, f"{user} 1", f"{user} 2", user=user, **options)
    with client(house) as asking:
        asking.ask(f"{user} 1", user=user, **options)
    settle(house)
    assert own(house, f"{user} 2") == []


def test_turns_and_templates_are_prefetched_as_the_model_saw_them(new: House) -> None:
    with client(new) as asking:
        for number in range(4):
            asking.ask("turn {n}", param={"n": 1}, conversation=f"c{number}", user="con")
            asking.ask("turn {n}", param={"n": 2}, system="Be brief.", conversation=f"c{number}", user="con")
            push_out(asking)
        asking.ask("turn {n}", param={"n": 1}, conversation="c4", user="con")
    until(lambda: own(new, "turn 2"), what="it was computed beforehand")
    assert own(new, "turn 2")[0]["state"] == "done"
    assert len(new.records("id", "conversation = 'c4'")) == 1, "no turn is added"
    last = ["ask", "turn {n}", "-p", "n=2", "-s", "Be brief.", "--conversation", "c4", "--user", "con", "--json"]
    assert new.ok(*last).last["cache"]["hit"] == "memory"


def test_habits_are_shared_if_the_cache_scope_shares_answers() -> None:
    with a_house(**FORGETFUL, LLMCTL_CACHE__SCOPE="[]") as house:
        house.echo(token_ms=1)
        learned(house, "ours 1", "ours 2", user="ann")
        house.ok("ask", "ours 1", "--user", "ben")
        until(lambda: own(house, "ours 2"), what="it was computed beforehand")
        assert house.ok("ask", "ours 2", "--user", "ben", "--json").last["cache"]["hit"] == "memory"


def test_without_the_setting_there_is_no_statistics_line_and_no_file() -> None:
    with a_house() as house:
        house.echo().ok("ask", "hi")
        assert [
            line["level"] for line in house.ok("cache", "stats", "--json").lines if line["level"] == "prefetch"
        ] == []
        assert not list((house.place / "cache").glob("prefetch*"))


def test_a_budget_of_zero_is_reported_as_the_reason() -> None:
    with a_house(LLMCTL_CACHE__PREFETCH__ENABLED="true") as house:
        house.echo().ok("ask", "hi")
        found = stats(house)
        assert (found["state"], found["prefetched"]) == ("stopped", 0)
        assert "budget_per_hour is 0" in found["reason"]


BEGUN = "a request of the hub's own begins"
"""In the log. `busy` is also said of what is about to begin."""


@contextmanager
def computing() -> Iterator[tuple[House, psutil.Process]]:
    """A hub with one slot, and no queue, that computes an answer beforehand. Its engine stands still in the midst of it."""
    with a_house(**FORGETFUL, LLMCTL_LIMITS__QUEUE="0", LLMCTL_LOGS__LEVEL="debug") as house:
        house.echo(slots=1, token_ms=20)
        with client(house) as asking:
            for _ in range(2):
                asking.ask("first")
                asking.ask("w" * 100)
            push_out(asking)
            (engine,) = house.engines()
            asking.ask("first")
            engine.suspend()
            until(lambda: BEGUN in house.log.read_text(), what="it is being computed")
        yield house, engine


def test_prefetch_gives_way_to_a_user_request() -> None:
    with computing() as (house, engine):
        assert house.status()["requests_in_flight"] == 0
        asking = house.spawn("ask", "now")
        until(lambda: house.status()["requests_in_flight"] == 1, what="a user asks")
        engine.resume()
        assert asking.end().out == "now\n"
        until(lambda: cancelled(house), what="it gave way")
        found = until(lambda: stats(house)["wasted"] and stats(house), what="the ledger has it")
        assert (found["wasted"], found["waste_s"]) == (1, 1.0)


def test_the_hub_stops_without_waiting_for_prefetch() -> None:
    with computing() as (house, engine):
        stopping = house.spawn("daemon", "stop", "--timeout", "60s")
        until(lambda: not house.socket.exists(), what="the hub stops")
        engine.resume()
        outcome = stopping.end()
        assert outcome.status == 0
        assert "cancelled" not in outcome.err
        assert cancelled(house) == 1


def cancelled(house: House) -> int:
    return len(house.records("state", "user = '_llmctl' AND state = 'cancelled'"))


def kept(house: House, user: str) -> int:
    """How many of this user's requests are in the file; 0 while there is none."""
    try:
        file = (house.place / "cache" / "prefetch.db").as_uri()
        with closing(sqlite3.connect(f"{file}?mode=ro", uri=True, timeout=5)) as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM requests WHERE person = ?", (user,))
            return int(count)
    except sqlite3.OperationalError:
        return 0


def test_cache_clear_also_forgets_what_prefetch_learned(house: House) -> None:
    learned(house, "clear 1", "clear 2", user="cle")
    until(lambda: kept(house, "cle") == 2, what="they are written down")
    house.ok("cache", "clear", "--yes")
    assert kept(house, "cle") == 0


def test_a_damaged_prefetch_file_is_set_aside_and_the_hub_starts(house: House) -> None:
    house.stop()
    path = house.place / "cache" / "prefetch.db"
    path.write_bytes(b"no database at all" * 500)
    told = house.ok("ask", "hello").err + house.ok("ask", "and again").err
    assert stats(house)["prefetched"] == 0
    (aside,) = path.parent.glob("prefetch.db.damaged-*")
    assert told.count("the file of prefetch was damaged (") == 1
    assert told.count(f"; what it had learned is lost; the old one is now {aside}") == 1
    assert "a store was lost" in house.log.read_text()


def test_a_prefetch_file_removed_under_the_hub_is_written_again(new: House) -> None:
    learned(new, "gone 1", "gone 2", user="gon")
    path = new.place / "cache" / "prefetch.db"
    until(path.exists)
    with new.still():
        for file in path.parent.glob("prefetch.db*"):
            file.unlink()
    with client(new) as asking:
        push_out(asking)
    until(lambda: kept(new, "filler"), what="it is written once a second")
    learned(new, "gone 1", "gone 2", user="gon", times=1)  # only in the file were the requests themselves
    until(lambda: kept(new, "gon") == 2, what="those asked since are kept again")
    new.ok("daemon", "restart")
    before = len(own(new, "gone 2"))
    new.ok("ask", "gone 1", "--user", "gon")
    until(lambda: len(own(new, "gone 2")) > before, what="what was learned is known")
