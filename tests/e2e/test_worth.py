"""The value of a stored answer: its TTL and the reason for it, eviction, and `cache replay`."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmctl.errors import Storage
from tests.e2e.house import House, until
from tests.e2e.house import house as a_house
from tests.e2e.test_bad_input import refused
from tests.faulty_server import answer, server

HOUR, DAY = 3600.0, 86400.0
POLICIES = ["gdsf", "lru", "sieve", "s3fifo", "wtinylfu", "weighted"]


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with a_house() as made:
        yield made.echo()


@pytest.fixture
def own() -> Iterator[House]:
    with a_house() as made:
        yield made


def lifetime(home: House, key: str) -> dict[str, Any]:
    found: dict[str, Any] = home.ok("cache", "show", key, "--json").last["lifetime"]
    return found


def asked(home: House, prompt: str, *flags: str) -> str:
    """The key of the answer."""
    return str(home.ok("ask", prompt, "--json", *flags).last["cache"]["key"])


def older(home: House, key: str, seconds: float) -> None:
    """While no hub runs: makes cache.db say that the answer is so much older."""
    with closing(sqlite3.connect(home.place / "cache" / "cache.db")) as connection, connection:
        connection.execute("UPDATE entries SET created = created - ? WHERE key = ?", (seconds, key))


# ---- lifetimes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "kind", "seconds"),
    [
        ("Who wrote Faust?", "text", 30 * DAY),
        ("What is the weather in Oslo today?", "time-bound", HOUR),
        ("Write a function in Python that reverses a list", "code", 90 * DAY),
        ("What is 17 * 23?", "arithmetic", 365 * DAY),
    ],
)
def test_the_initial_ttl_depends_on_the_kind_of_question(home: House, prompt: str, kind: str, seconds: float) -> None:
    key = asked(home, prompt)
    found = lifetime(home, key)
    assert (found["kind"], found["seconds"], found["from"], found["observations"]) == (kind, seconds, "start", [])
    assert 0 < found["left_s"] <= seconds
    words = home.ok("cache", "show", key).out
    assert f'initial estimate for the kind "{kind}", no observations yet' in words


def test_a_configured_ttl_is_reported_as_fixed(own: House) -> None:
    own.variables["LLMCTL_CACHE__TTL"] = "2h"
    key = asked(own.echo(), "Who wrote Faust?")
    found = lifetime(own, key)
    assert (found["seconds"], found["from"]) == (2 * HOUR, "fixed")
    assert "2 h 0 min, fixed by cache.ttl" in own.ok("cache", "show", key).out


def test_changed_recomputed_answers_shorten_the_ttl_and_survive_a_restart(own: House) -> None:
    with server() as endpoint:
        own.ok("models", "add", "far", endpoint.url)
        endpoint.script = [answer("one"), answer("One"), answer("two")]
        key = asked(own, "Who leads?")
        for age in (2 * HOUR, 3 * HOUR):
            own.stop()
            older(own, key, age)
            assert asked(own, "Who leads?", "--refresh") == key
        found = lifetime(own, key)
        assert [round(one["age_s"], -2) for one in found["observations"]] == [2 * HOUR, 3 * HOUR]
        assert [one["changed"] for one in found["observations"]] == [False, True]
        assert found["from"] == "learned"
        assert found["seconds"] <= 3 * HOUR, "30 days before"
        assert "computed again  after 3 h 0 min: the answer had changed" in own.ok("cache", "show", key).out

        own.stop()
        own.ok("daemon", "start")
        again = lifetime(own, key)
        assert again["observations"] == found["observations"]
        assert again["seconds"] == found["seconds"]


def test_learned_ttls_survive_a_kill(own: House) -> None:
    own.echo()
    key = asked(own, "Who wrote Faust?")
    own.stop()
    older(own, key, DAY)
    asked(own, "Who wrote Faust?", "--refresh")
    file = own.place / "cache" / "learned.json"
    until(lambda: file.exists() and key in file.read_text(), what="what was learned is written down")
    own.hub().kill()
    own.ended()
    own.ok("daemon", "start")
    (one,) = lifetime(own, key)["observations"]
    assert (round(one["age_s"], -2), one["changed"]) == (DAY, False)
    assert lifetime(own, key)["seconds"] >= 30 * DAY


def test_a_damaged_file_of_learned_ttls_is_set_aside_and_reported(own: House) -> None:
    key = asked(own.echo(), "Who wrote Faust?")
    own.stop()
    file = own.place / "cache" / "learned.json"
    file.write_bytes(b'{"lifetimes": {"kno')
    outcome = own.ok("ask", "Who wrote Faust?")
    assert "the file of learned lifetimes was damaged (" in outcome.err
    assert [path.read_bytes() for path in file.parent.glob("learned.json.*")] == [b'{"lifetimes": {"kno']
    assert lifetime(own, key)["from"] == "start"


def listed(home: House) -> list[str]:
    """The prompts of what is stored."""
    return [line["prompt"] for line in home.ok("cache", "ls", "--json").lines]


def warmed(home: House, word: str) -> list[int]:
    """Stores thirty given answers of equal size and no compute time, more than fit. Returns the lines
    that were refused.
    """
    rows = (json.dumps({"prompt": f"{word} {number:02}", "text": "y" * 300}) for number in range(30))
    outcome = home.run("cache", "warm", "-", "--json", stdin="\n".join(rows))
    refused = [line for line in outcome.lines if line["error"]]
    assert all("no level of the cache accepted it" in line["error"]["message"] for line in refused)
    assert outcome.status == (Storage.status if refused else 0)
    return [line["line"] for line in refused]


# ---- eviction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_each_eviction_policy_keeps_memory_below_its_limit_and_serves_hits(own: House, policy: str) -> None:
    own.variables |= {
        "LLMCTL_CACHE__EVICTION": policy, "LLMCTL_CACHE__MEMORY_BYTES": "2000", "LLMCTL_CACHE__DISK_BYTES": "0",
    }  # fmt: skip
    own.echo()
    refused = warmed(own, "question")
    # some of thirty keys may share the counters of another, and so seem to have been asked for before
    assert (len(refused) > 20) if policy == "wtinylfu" else not refused, "only W-TinyLFU keeps what is there"
    (memory, *_) = own.ok("cache", "stats", "--json").lines
    assert 1000 < memory["bytes"] <= 2000
    assert 2 <= memory["entries"] <= 5
    until(lambda: len(listed(own)) <= 5, what="the book has seen off who went")
    assert own.ok("ask", listed(own)[-1], "--cache-only", "--json").last["cache"]["hit"] == "memory"


def test_slowly_computed_answers_outlive_quickly_computed_ones(own: House) -> None:
    own.variables |= {"LLMCTL_CACHE__MEMORY_BYTES": "1500", "LLMCTL_CACHE__DISK_BYTES": "0"}
    own.echo("slow", token_ms=10)
    own.ok("ask", "dear" * 10)
    assert warmed(own, "cheap") == []
    until(lambda: len(listed(own)) < 10, what="the book has seen off who went")
    assert own.ok("ask", "dear" * 10, "--json").last["cache"]["hit"] == "memory"


def test_an_unknown_eviction_policy_is_a_configuration_error(own: House) -> None:
    refused(own.run("config", "check", LLMCTL_CACHE__EVICTION="fifo"), 2, "cache.eviction", "gdsf")


# ---- cache replay ---------------------------------------------------------------------------------------------------


def trace(home: House, *lines: object) -> Path:
    file = home.home / "trace.jsonl"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return file


def test_cache_replay_compares_the_eviction_policies(home: House) -> None:
    dear = {"key": "dear", "bytes": 400, "seconds": 30.0, "cost": 0.02}
    cheap = [{"prompt": f"cheap {number}", "bytes": 400, "seconds": 0.1, "cost": 0.001} for number in range(4)]
    file = trace(home, dear, dear, *cheap, dear, *cheap, dear)
    lines = home.ok("cache", "replay", file, "--bytes", "1K", "--json").lines
    assert [line["policy"] for line in lines] == POLICIES
    assert all(list(line) == ["policy", "hits", "hit_rate", "recomputed_s", "recomputed_cost"] for line in lines)
    found = {line["policy"]: line for line in lines}
    assert found["lru"] == {
        "policy": "lru", "hits": 1, "hit_rate": 0.0833, "recomputed_s": 90.8, "recomputed_cost": 0.068,
    }  # fmt: skip
    assert found["gdsf"]["recomputed_s"] == 30.8, "the expensive one is computed once"
    words = home.ok("cache", "replay", file, "--bytes", "1K")
    assert words.out.splitlines()[0].split() == ["POLICY", "HITS", "RATE", "COMPUTED", "COST"]
    assert sorted(line.split()[0] for line in words.out.splitlines()[1 : 1 + len(POLICIES)]) == sorted(POLICIES)
    assert words.out.endswith("12 requests, 5 of them different, in a cache of 1.0 KiB\n")


def test_cache_replay_reads_the_history(own: House) -> None:
    own.echo("priced", token_ms=2)
    own.ok("models", "add", "priced", "echo", "--force", "--price-in", "1", "--price-out", "2", "--set", "token_ms=2")
    for prompt in ("a", "b", "a", "a"):
        own.ok("ask", prompt)
    own.ok("ask", "of no key", "--no-cache")
    own.stop()
    line = own.ok("cache", "replay", "--history", "--json").lines[0]
    rows = own.records("key, hit", "key IS NOT NULL")
    assert line["hits"] == 2
    assert line["hit_rate"] == round(2 / len(rows), 4)
    assert line["recomputed_s"] > 0
    assert line["recomputed_cost"] > 0
    assert not own.hub_runs(), "only a look"


def test_cache_replay_names_an_invalid_trace_line(home: House) -> None:
    file = trace(home, {"key": "a"}, '{"key":')
    refused(home.run("cache", "replay", file), 5, f"{file}, line 2", '{"key": "a", "bytes": 900')
    negative = trace(home, {"key": "a", "seconds": -1})
    refused(home.run("cache", "replay", negative), 5, "line 1: seconds is -1; it must be a number of 0 or more")
    refused(home.run("cache", "replay", trace(home, {"key": 1})), 5, "line 1: key is 1; it must be a string")
    refused(home.run("cache", "replay", trace(home, {"bytes": 1})), 5, "line 1", "neither key nor prompt")


def test_cache_replay_reads_its_trace_from_stdin(home: House) -> None:
    text = '\ufeff{"key": "a", "seconds": 2}\n{"key": "a", "seconds": 2}'
    lines = home.ok("cache", "replay", "-", "--json", stdin=text).lines
    assert [(line["policy"], line["hits"]) for line in lines] == [(policy, 1) for policy in POLICIES]
    assert lines == home.ok("cache", "replay", trace(home, *text.splitlines()), "--json").lines
    refused(home.run("cache", "replay", "-", stdin='{"key": "a"}\nno'), 5, "stdin, line 2: this is not JSON")
    refused(home.shell("llmctl cache replay - <&-"), 2, "stdin is closed")
    told = "until grep -q waiting told 2>/dev/null; do sleep 0.1; done"
    slow = home.shell(f"({told}; echo '{{\"key\": 1}}') | llmctl cache replay - 2>told; cat told >&2")
    assert slow.err.startswith("llmctl: waiting for stdin to end\nllmctl: stdin, line 1")


def test_cache_replay_of_an_empty_trace_says_so(home: House, own: House) -> None:
    refused(home.run("cache", "replay", trace(home, "")), 5, "contains no request")
    refused(home.run("cache", "replay", home.home / "none.jsonl"), 5, "there is no file")
    refused(home.run("cache", "replay", "/tmp"), 5, "/tmp is a folder", "JSON lines")
    refused(own.run("cache", "replay", "--history"), 5, "the history contains no request")


def test_cache_replay_needs_exactly_one_source(home: House) -> None:
    refused(home.run("cache", "replay"), 2, "give either a TRACE or --history")
    refused(home.run("cache", "replay", "x", "--history"), 2, "give either a TRACE or --history")
    refused(home.run("cache", "replay", "x", "--bytes", "many"), 2, "--bytes", "'many' is not a size")


def test_a_closed_stdout_pipe_ends_cache_replay_quietly(home: House) -> None:
    file = trace(home, {"key": "a"})
    outcome = home.shell(f"llmctl cache replay --json {file} | head -1")
    assert json.loads(outcome.out)["policy"] == "gdsf"
    assert outcome.err == ""
