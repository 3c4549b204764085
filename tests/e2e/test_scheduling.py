"""Scheduling: interactive requests before batch ones, and no user behind the whole queue of another."""

import json
import signal
from pathlib import Path

import pytest

from tests import tiny_gguf
from tests.e2e.house import Command, House, until

QUIET = ("--no-cache", "--json", "--no-stream", "-q")


def started(house: House, count: int) -> None:
    """Waits until so many requests have reached the hub."""
    until(lambda: house.status().get("requests_in_flight") == count, what=f"{count} requests in flight")


def ended_order(house: House, user: str) -> int:
    """How many requests had ended when that of this user had."""
    rows = house.records("user, ended", "state = 'done'")
    mine = next(row["ended"] for row in rows if row["user"] == user)
    return sum(row["ended"] < mine for row in rows)


def test_a_request_does_not_wait_behind_a_hundred_of_another_user(house: House) -> None:
    """One process sends a hundred requests at once; none is answered before user b has asked."""
    house.echo(token_ms=5, slots=4)
    script = (
        "import threading\n"
        "from llmctl import Client\n"
        "def ask(n):\n"
        "    with Client(user='a') as c: c.ask(f'question {n:03} ' + 'x' * 40, no_cache=True)\n"
        "threads = [threading.Thread(target=ask, args=(n,)) for n in range(100)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    with house.held():
        many = house.python(script)
        started(house, 100)
        asking = house.spawn("ask", "question of b " + "x" * 40, "--user", "b", *QUIET)
        started(house, 101)
    assert asking.end().status == 0
    assert many.end().status == 0
    assert ended_order(house, "b") < 4 + 4, "those that ran, b, and those that began with it"


def test_interactive_requests_go_before_batch_requests(house: House) -> None:
    """The first request may run before the other two arrive; the batch request is last in any case."""
    house.echo(slots=1)
    with house.held():
        first = house.spawn("ask", "x" * 300, "--user", "first", *QUIET)
        started(house, 1)
        batch = house.spawn("ask", "y" * 30, "--priority", "batch", "--user", "batch", *QUIET)
        started(house, 2)
        high = house.spawn("ask", "z" * 30, "--priority", "high", "--user", "high", *QUIET)
        started(house, 3)
    assert [command.end().status for command in (first, batch, high)] == [0, 0, 0]
    assert ended_order(house, "batch") == 2


def test_a_request_taking_over_a_cancelled_one_runs_at_its_own_priority(house: House) -> None:
    """Both requests are identical; a request of another user waits behind the first, which is a batch request."""
    house.echo(slots=1, token_ms=3)
    same = ("ask", "q" * 30, "--user", "asker", "--json", "--no-stream", "-q")
    running = house.spawn("ask", "x" * 300, "--user", "first", "--no-cache")
    running.first_byte()
    (engine,) = house.engines()
    engine.suspend()
    batch = house.spawn(*same, "--priority", "batch")
    started(house, 2)
    other = house.spawn("ask", "y" * 30, "--user", "other", *QUIET)
    started(house, 3)
    high = house.spawn(*same, "--priority", "high")
    until(lambda: house.ok("cache", "stats", "--json").lines[0]["misses"] == 2, what="both looked it up")
    batch.send_signal(signal.SIGINT)
    assert batch.end().status == 130
    engine.resume()
    assert [command.end().status for command in (running, other, high)] == [0, 0, 0]
    assert ended_order(house, "other") == 2, "the one that takes over goes before it"
    rows = house.records("hit, completion_tokens", "user = 'asker' AND state = 'done'")
    assert rows == [{"hit": None, "completion_tokens": 31}], "it is computed for, and charged to, the second"


def test_a_preempted_batch_request_gives_the_same_answer(house: House, tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    tiny_gguf.write(path, seed=7, context=4096, layers=8, dim=256)
    house.ok(
        "models",
        "add",
        "long",
        path,
        "--set=slots=1",
        "--set=threads=1",
        "--set=flash_attention=false",
        "--set=kv_type=f32",
    )
    asked = ("ask", "tell me a story", "--max-tokens", "600", "--temperature", "0", "--no-cache", "--json")
    undisturbed = house.ok(*asked).last
    batch = house.spawn(*asked, "--priority", "batch")
    (engine,) = house.engines()
    batch.first_byte()
    engine.suspend()  # seconds before its end, which is not to come while the other command starts
    asking = house.spawn("ask", "quick", "--max-tokens", "3", "--no-cache", "--json", "--user", "urgent")
    until(lambda: house.status().get("requests_in_flight") == 2 or asking.poll() is not None)
    engine.resume()
    assert asking.end().last["usage"]["completion_tokens"] <= 3
    last = batch.end().last
    assert (last["text"], last["usage"]["completion_tokens"]) == (
        undisturbed["text"], undisturbed["usage"]["completion_tokens"],
    )  # fmt: skip
    assert ended_order(house, "urgent") == 1, "the other was put off, not waited for"


def test_a_request_that_times_out_in_the_queue_is_not_computed(house: House) -> None:
    house.echo(token_ms=1000, slots=1)
    busy = house.spawn("ask", "x" * 2000, *QUIET)
    until(lambda: house.busy("echo") == 1)
    outcome = house.run("ask", "hello", "--timeout", "1s", *QUIET)
    assert outcome.status == 7
    assert json.loads(outcome.err.splitlines()[-1])["error"]["code"] == "timeout"
    assert outcome.last["usage"]["completion_tokens"] == outcome.last["usage"]["prompt_tokens"] == 0 or (
        outcome.last["text"] == ""
    )
    assert busy.poll() is None
    busy.send_signal(signal.SIGINT)
    busy.end()


def test_an_invalid_priority_is_refused_by_name(house: House) -> None:
    house.echo()
    outcome = house.run("ask", "x", "--priority", "urgent")
    assert outcome.status == 5
    assert "priority is 'urgent'; it must be one of high, normal, batch" in outcome.err


def test_a_full_queue_is_status_10_with_a_message(house: House) -> None:
    house.variables["LLMCTL_LIMITS__QUEUE"] = "1"
    house.echo(token_ms=1000, slots=1)
    commands: list[Command] = [house.spawn("ask", "x" * 2000, *QUIET)]
    until(lambda: house.busy("echo") == 1)
    commands.append(house.spawn("ask", "y" * 2000, *QUIET))
    started(house, 2)
    outcome = house.run("ask", "z", *QUIET)
    assert outcome.status == 10
    assert "1 request running, 1 waiting" in outcome.err
    for command in commands:
        command.send_signal(signal.SIGINT)
        command.end()


@pytest.mark.parametrize("flag", ["--priority=high", "--repro"])
def test_scheduling_flags_can_be_set_in_templates(house: House, flag: str) -> None:
    house.echo()
    house.ok("ask", "hello", flag, "--save", "mine")
    assert house.ok("ask", "-t", "mine", "-q").out == "hello\n"
