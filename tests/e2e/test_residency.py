"""Which models are loaded, for how long, and which are evicted: by the installed command, with limited memory."""

import json
import signal
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import psutil
import pytest

from tests import tiny_gguf
from tests.e2e.house import House, gone, until
from tests.e2e.house import house as a_house

ROOM = {"LLMCTL_LIMITS__MEMORY_BYTES": "2M"}
TEXT = "a e i o u " * 200
"""2,000 tokens."""
ONE = ("--no-cache", "--max-tokens", "4", "--temperature", "0", "--json", "--no-stream")


@pytest.fixture
def two() -> Iterator[House]:
    """Three models, with memory for two."""
    with a_house(**ROOM) as made:
        for name in ("a", "b", "c"):
            made.echo(name, takes="1M")
        yield made


def loaded(house: House) -> list[str]:
    return [line["name"] for line in house.ok("ps", "--json").lines]


def loads(house: House) -> int:
    """Engines that were ready since the hub began."""
    return house.log.read_text().count('"event": "a model is loaded"')


def test_a_model_is_loaded_on_demand_with_a_notice(two: House) -> None:
    outcome = two.ok("ask", "-m", "a", "hello")
    assert outcome.out == "hello\n"
    assert "loading a" in outcome.err
    assert "loading" not in two.ok("ask", "-m", "a", "again").err


def test_the_least_valuable_model_is_evicted_with_a_notice(two: House) -> None:
    two.ok("ask", "-m", "a", "hello")
    two.ok("models", "pin", "b")
    outcome = two.ok("ask", "-m", "c", "--no-cache", "hello")
    assert outcome.out == "hello\n"
    assert "loading c, unloading a for it" in outcome.err
    assert loaded(two) == ["b", "c"]


def test_eviction_counts_bytes_and_not_models(house: House) -> None:
    house.variables |= ROOM
    for name in ("a", "b", "c", "d", "e"):
        house.echo(name, takes="400K").ok("models", "load", name)
    assert loaded(house) == ["a", "b", "c", "d", "e"]
    house.echo("large", takes="2M").ok("models", "load", "large")
    assert loaded(house) == ["large"]


def test_a_busy_model_is_not_evicted(two: House) -> None:
    two.echo("slow", takes="2M", token_ms=10_000)
    asked = two.spawn("ask", "-m", "slow", "hello")
    assert asked.first_byte() == "h"
    waits = two.spawn("ask", "-m", "a", "--timeout", "1s", "hello")
    outcome = waits.end()
    assert outcome.status == 7
    assert "a waits for 1.0 MiB of memory: slow is busy" in outcome.err
    assert loaded(two) == ["slow"]
    asked.send_signal(2)
    assert asked.end().status == 130


def test_after_max_wait_a_busy_model_returns_unstarted_requests_and_is_evicted(house: House) -> None:
    """The queue of one model does not delay the other; only its running requests do."""
    house.variables |= {"LLMCTL_LIMITS__MEMORY_BYTES": "1M", "LLMCTL_RESOURCES__MAX_WAIT": "300ms"}
    house.echo("a", takes="1M", slots=1, token_ms=30).echo("b", takes="1M").ok("models", "load", "a")
    engine = psutil.Process(house.ps("a")["pid"])
    queue = [house.spawn("ask", "-m", "a", f"question number 0{' and more of it' * 4}")]
    queue[0].first_byte()
    engine.suspend()  # in the middle of the first
    queue += [house.spawn("ask", "-m", "a", f"question number {number}") for number in range(1, 6)]
    until(lambda: house.running() == 6, what="six requests at a")
    other = house.spawn("ask", "-m", "b", "first")
    until(lambda: house.ps("a").get("state") == "leaving", what="a makes room")
    engine.resume()
    assert other.end().out == "first\n"
    assert queue.pop(0).end().out.startswith("question number 0 and more")
    for number, command in enumerate(queue, 1):
        assert command.end().out == f"question number {number}\n"
    ended = [row["model"] for row in sorted(house.records("model, ended"), key=lambda row: str(row["ended"]))]
    assert ended == ["a", "b", *["a"] * 5], "before b only what a had begun"
    assert loads(house) == 3


def test_a_burst_over_three_models_with_room_for_one_takes_three_loads(house: House) -> None:
    """A B A A C A B C."""
    house.variables |= {"LLMCTL_LIMITS__MEMORY_BYTES": "1M", "LLMCTL_RESOURCES__MAX_WAIT": "10m"}
    for name in "ABC":
        house.echo(name, takes="1M")
    house.ok("models", "load", "A")
    with house.held("A"):
        commands = [house.spawn("ask", "-m", "A", "A0")]  # it is first, however long the others take to start
        until(lambda: house.running() == 1, what="the first request at the hub")
        commands += [house.spawn("ask", "-m", name, f"{name}{at}") for at, name in enumerate("ABAACABC") if at]
        until(lambda: house.running() == 8, what="eight requests at the hub")
    assert [command.end().out for command in commands] == [f"{name}{at}\n" for at, name in enumerate("ABAACABC")]
    assert loads(house) == 3


def test_explicit_loads_of_more_models_than_fit_all_succeed_with_one_load_each(house: House) -> None:
    """Each model is loaded once and then evicted for the next; none is loaded a second time."""
    house.variables["LLMCTL_LIMITS__MEMORY_BYTES"] = "1M"
    for name in "abc":
        house.echo(name, takes="1M", load_ms=100)
    commands = [house.spawn("models", "load", name, "--json") for name in "abc"]
    assert [command.end().status for command in commands] == [0, 0, 0]
    assert loads(house) == 3


def test_a_load_that_nobody_waits_for_is_ended_to_make_room(two: House) -> None:
    two.echo("never", takes="2M", load_ms=1_000_000)
    asked = two.spawn("ask", "-m", "never", "hello")
    until(lambda: two.ps("never").get("state") == "loading", what="the load")
    waits = two.spawn("ask", "-m", "a", "hello")
    until(lambda: two.running() == 2, what="the second request")
    asked.send_signal(2)
    assert asked.end().status == 130
    assert waits.end().out == "hello\n"
    assert loaded(two) == ["a"]


def test_a_cancelled_load_is_still_unloaded_after_its_keep_alive(house: House) -> None:
    """The client has gone; the model is unloaded after its keep-alive like any other."""
    house.echo("e", load_ms=100)
    command = house.spawn("models", "load", "e")
    (engine,) = until(lambda: [it for it in house.engines() if "llmctld.engine" in it.cmdline()], what="the engine")
    engine.suspend()
    assert house.ps("e")["state"] == "loading"
    command.send_signal(2)
    assert command.end().status == 130
    engine.resume()
    until(lambda: house.ps("e").get("state") == "ready", what="the model")
    assert house.ps("e")["until"] is not None


def test_a_prefix_survives_eviction_and_reload_of_its_model(house: House, tmp_path: Path) -> None:
    for seed, name in ((7, "one"), (8, "other")):
        tiny_gguf.write(tmp_path / f"{name}.gguf", seed=seed, context=4096, layers=3, dim=128)
        house.ok("models", "add", name, tmp_path / f"{name}.gguf", "--set=slots=2")
    needs = house.ok("models", "estimate", "one", "--json").last["total_bytes"]
    house.variables["LLMCTL_LIMITS__MEMORY_BYTES"] = str(int(needs * 1.5))
    house.ok("daemon", "restart")
    first = house.ok("ask", "-m", "one", TEXT, *ONE).last
    house.ok("ask", "-m", "other", "hello", *ONE)
    assert loaded(house) == ["other"]
    second = house.ok("ask", "-m", "one", TEXT, *ONE).last
    assert first["usage"]["cached_tokens"] == 0
    assert second["usage"]["cached_tokens"] >= 1900
    assert second["text"] == first["text"]
    assert second["timings"]["load_ms"] > 0


# ---- keep-alive -----------------------------------------------------------------------------------------------------


def test_keep_alive_can_be_set_per_model_and_per_request(house: House) -> None:
    house.echo("e").echo("short", keep_alive="0").echo("ever", keep_alive="-1")
    for name in ("e", "short", "ever"):
        house.ok("ask", "-m", name, "--no-cache", "hello")
    until(lambda: loaded(house) == ["e", "ever"], what="the end of `short`")
    lines = {line["name"]: line["until"] for line in house.ok("ps", "--json").lines}
    assert lines["ever"] is None
    left = datetime.fromisoformat(lines["e"]) - datetime.now(timezone.utc)
    assert 14 * 60 < left.total_seconds() <= 15 * 60
    house.ok("ask", "-m", "e", "--no-cache", "--keep-alive", "1h", "hello")
    left = datetime.fromisoformat(house.ps("e")["until"]) - datetime.now(timezone.utc)
    assert left.total_seconds() > 59 * 60
    house.ok("ask", "-m", "e", "--no-cache", "--keep-alive", "0", "hello")
    until(lambda: loaded(house) == ["ever"], what="the end of `e`")
    assert "UNTIL" in house.ok("ps").out


@pytest.mark.parametrize("given", ["soon", "-2", "5 fortnights", "99999999d"])
def test_an_invalid_keep_alive_is_refused(shared: House, given: str) -> None:
    outcome = shared.run("ask", f"--keep-alive={given}", "hello")
    assert outcome.status == 2
    assert given in outcome.err
    assert shared.run("models", "add", "x", "echo", f"--set=keep_alive={given}").status == 5


def test_a_pinned_model_stays_loaded_and_is_loaded_by_the_next_hub(two: House) -> None:
    two.ok("models", "pin", "a", "--json")
    assert two.ps("a")["until"] is None
    for name in ("b", "c", "b", "c"):
        two.ok("ask", "-m", name, "--no-cache", "--keep-alive", "0", "hello")
    assert "a" in loaded(two)
    pid = two.ps("a")["pid"]
    two.ok("daemon", "restart")
    until(lambda: two.ps("a").get("state") == "ready", what="the pinned model, without being asked for")
    assert two.ps("a")["pid"] != pid
    two.ok("models", "pin", "a", "--off")
    assert two.ps("a")["until"] is not None
    assert json.loads(next(two.place.rglob("models/a.json")).read_text())["settings"] == {"takes": 2**20}


def test_preloaded_models_are_ready_from_the_start(house: House) -> None:
    house.echo("e", preload="true").echo("f")
    house.ok("daemon", "restart")
    until(lambda: house.ps("e").get("state") == "ready", what="the preloaded model")
    assert loaded(house) == ["e"]


def test_a_failed_preload_affects_no_other_model(house: House) -> None:
    house.echo("e", preload="true", fail="load").echo("f")
    house.ok("daemon", "restart")
    assert house.ok("ask", "-m", "f", "hello").out == "hello\n"
    until(lambda: "a model cannot be preloaded" in house.log.read_text(), what="a line in the log")


def test_an_interrupted_or_failed_pin_pins_nothing(house: House) -> None:
    house.echo("slow", load_ms=60_000).echo("broken", fail="load")
    pinning = house.spawn("models", "pin", "slow")
    until(lambda: house.ps("slow").get("state") == "loading", what="it is being loaded")
    pinning.send_signal(signal.SIGINT)
    assert pinning.end().status == 130
    assert house.run("models", "pin", "broken").status == 4
    for name in ("slow", "broken"):
        assert "pin" not in house.ok("models", "show", name, "--json").last["settings"]


def test_a_pin_that_the_configuration_forbids_is_refused(house: House) -> None:
    house.echo("e")
    house.variables["LLMCTL_MODELS__E__PIN"] = "false"
    house.ok("daemon", "restart")
    outcome = house.run("models", "pin", "e")
    assert outcome.status == 2
    assert "models.e.pin = false, which takes precedence" in outcome.err


def test_a_load_without_progress_is_ended_after_the_load_timeout(house: House) -> None:
    house.variables["LLMCTL_RESOURCES__LOAD_TIMEOUT"] = "1s"
    house.echo("stuck", load_ms=1_000_000).echo("other")
    outcome = house.run("ask", "-m", "stuck", "--timeout", "60s", "hello")
    assert outcome.status == 4
    assert "the load of stuck made no progress for 1 s and was ended: " in outcome.err
    assert "MiB of memory filled" in outcome.err
    assert "resources.load_timeout" in outcome.err
    assert loaded(house) == []
    assert house.ok("ask", "-m", "other", "hello").out == "hello\n"


# ---- replicas -------------------------------------------------------------------------------------------------------


def test_a_prompt_goes_to_the_replica_that_has_its_prefix(house: House, tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "m.gguf", seed=7, context=4096)
    house.ok("models", "add", "m", tmp_path / "m.gguf")
    lines = house.ok("models", "load", "m", "--replicas", "2", "--json").lines
    assert [(line["name"], line["replica"], line["state"]) for line in lines] == [("m", 0, "ready"), ("m", 1, "ready")]
    assert lines[0]["pid"] != lines[1]["pid"]
    texts = [f"{word} " * 300 for word in ("one", "two", "three", "four")]
    for text in texts:
        assert house.ok("ask", "-m", "m", text, *ONE).last["usage"]["cached_tokens"] < 100
    for text in texts:
        assert house.ok("ask", "-m", "m", text + "and?", *ONE).last["usage"]["cached_tokens"] > 500
    engines = [psutil.Process(line["pid"]) for line in lines]
    house.ok("models", "load", "m", "--replicas", "1")
    until(lambda: len(loaded(house)) == 1, what="one replica")
    house.ok("models", "unload", "m")
    assert gone(engines)


def test_zero_or_too_many_replicas_are_refused(shared: House) -> None:
    for given in ("0", "1000"):
        outcome = shared.run("models", "load", "echo", "--replicas", given)
        assert outcome.status == 5
        assert f"replicas is {given}; it must be between 1 and" in outcome.err
        assert "resources.max_replicas" in outcome.err


# ---- lack of memory -------------------------------------------------------------------------------------------------


def test_a_lack_of_memory_reports_the_missing_bytes_and_eviction_candidates(two: House) -> None:
    two.ok("models", "pin", "a")
    two.ok("models", "load", "b")
    two.echo("large", takes="2M")
    outcome = two.run("ask", "-m", "large", "hello", "--json")
    assert outcome.status == 4
    assert outcome.error["code"] == "model_unavailable"
    assert outcome.error["message"] == (
        "the weights of large need 2.0 MiB, but all models together may use 2.0 MiB, of which a uses 1.0 MiB (pinned): "
        "1.0 MiB are missing, even if b (1.0 MiB) is unloaded"
    )
    assert "limits.memory_bytes" in outcome.error["hint"]
    assert loaded(two) == ["a", "b"]


def test_a_model_too_large_for_the_limit_is_shrunk_with_a_notice(house: House, tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "m.gguf", seed=7, context=4096)
    house.ok("models", "add", "m", tmp_path / "m.gguf")
    needs = house.ok("models", "estimate", "m", "--json").last
    house.variables["LLMCTL_LIMITS__MEMORY_BYTES"] = str(needs["total_bytes"] - needs["kv_bytes"] // 2)
    house.ok("daemon", "restart")
    outcome = house.ok("ask", "-m", "m", "hello", *ONE)
    assert "retained 4 -> " in outcome.err
    assert house.ps("m")["slots"] >= 1
