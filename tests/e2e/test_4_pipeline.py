"""Item 4, the pipeline: what is stored, what is a cache hit, what shares a key, and what is recorded."""

import os
import signal
import time

import pytest

from tests.e2e.house import House, Outcome, gone, until


def hit(outcome: Outcome) -> str | None:
    found: str | None = outcome.last["cache"]["hit"]
    return found


def ask(house: House, *arguments: object) -> Outcome:
    return house.ok("ask", *arguments, "--json", "--no-stream")


def stats(house: House) -> dict[str, object]:
    return house.ok("cache", "stats", "--json").last


def await_misses(house: House, count: int) -> None:
    """Waits for so many cache misses: these requests are being computed, or have joined one that is."""
    until(lambda: house.ok("cache", "stats", "--json").lines[1]["misses"] == count)


def test_eight_identical_concurrent_requests_are_computed_once(house: House) -> None:
    house.echo()
    text = "q" * 250
    with house.held():
        asking = [house.spawn("ask", text, "--json", "--no-stream") for _ in range(8)]
        await_misses(house, 8)
    answers = [command.end() for command in asking]
    assert [answer.last["text"] for answer in answers] == [text] * 8
    assert sorted(str(hit(answer)) for answer in answers) == ["None"] + ["flight"] * 7
    found = stats(house)
    assert found["level"] == "all"
    assert (found["requests"], found["joined"]) == (8, 7)
    records = house.records()
    assert len(records) == len({row["id"] for row in records}) == 8, "each has its own record"
    assert {row["state"] for row in records} == {"done"}
    assert [row["hit"] for row in records].count(None) == 1


def test_explain_reports_joined_requests_and_stored_answers_that_are_too_old(house: House) -> None:
    house.echo()

    def told(outcome: Outcome, stage: str = "exact") -> str:
        return str(next(line["text"] for line in outcome.last["explain"][::-1] if line["stage"] == stage))

    with house.held():
        first = house.spawn("ask", "hello", "--json", "--no-stream", "--explain")
        await_misses(house, 1)
        second = house.spawn("ask", "hello", "--json", "--no-stream", "--explain")
        await_misses(house, 2)
    computed, joined = first.end(), second.end()
    assert told(computed) == told(joined) == "not found"
    assert told(joined, "flight").startswith(f"{computed.last['id']} computed the answer; this saved ")
    (row,) = house.records("computed_by, saved_ms, purpose", "hit = 'flight'")
    assert (row["computed_by"], row["purpose"]) == (computed.last["id"], "request")
    timings = computed.last["timings"]
    assert row["saved_ms"] == pytest.approx(timings["prefill_ms"] + timings["decode_ms"], abs=0.01)
    answered = time.monotonic()
    until(lambda: time.monotonic() > answered + 0.3)
    old = told(ask(house, "hello", "--max-age", "0.2s", "--explain"))
    assert old.startswith("too old: it was computed ")
    assert old.endswith("--max-age allows 0.2 s")
    assert told(ask(house, "never asked", "--max-age", "1h", "--explain")) == "not found"
    assert told(ask(house, "hello", "--max-age", "1h", "--explain")) == "found in memory"


def test_cancelling_the_first_of_joined_requests_leaves_the_others_their_answer(house: House) -> None:
    house.echo()
    text = "w" * 300
    with house.held():
        first = house.spawn("ask", text)
        await_misses(house, 1)
        others = [house.spawn("ask", text) for _ in range(7)]
        await_misses(house, 8)
        first.send_signal(signal.SIGINT)
        assert first.end().status == 130
    assert [command.end().out for command in others] == [text + "\n"] * 7
    assert sorted(row["state"] for row in house.records()) == ["cancelled"] + ["done"] * 7
    assert stats(house)["joined"] == 6, "one of them took the computation over"
    (heir,) = house.records("id", "state = 'done' AND hit IS NULL")
    joined = house.records("computed_by, saved_ms", "hit = 'flight'")
    assert {row["computed_by"] for row in joined} == {heir["id"]}
    assert all(row["saved_ms"] > 0 for row in joined)


def test_a_joined_request_also_streams_the_text_from_before_it_joined(house: House) -> None:
    house.echo(token_ms=20)
    text = "".join(chr(97 + n % 26) for n in range(150))
    house.ok("models", "load", "echo")
    (engine,) = house.engines()
    first = house.spawn("ask", text)
    first.first_byte()
    engine.suspend()
    second = house.spawn("ask", text, "--json")
    until(lambda: second.poll() is not None or stats(house)["requests"] == 2)
    engine.resume()
    outcome = second.end()
    assert outcome.last["text"] == outcome.pieces == text
    assert first.end().out == text + "\n"


def test_a_cache_hit_reports_its_age(shared: House) -> None:
    assert hit(ask(shared, "aged")) is None
    again = ask(shared, "aged")
    assert hit(again) == "memory"
    assert again.last["cache"]["age_s"] >= 0
    assert again.last["text"] == "aged"
    told = shared.ok("ask", "aged")
    assert told.out == "aged\n"
    assert "ago" in told.err or "old" in told.err
    assert shared.ok("ask", "aged", "-q").err == ""


def test_answers_on_disk_survive_a_restart_of_the_hub(house: House) -> None:
    house.echo()
    ask(house, "hello")
    house.ok("daemon", "restart")
    assert hit(ask(house, "hello")) == "disk"
    assert hit(ask(house, "hello")) == "memory", "what the disk gave is in memory now"
    levels = {line["level"]: line for line in house.ok("cache", "stats", "--json").lines}
    assert levels["disk"]["entries"] == 1
    assert levels["disk"]["bytes"] > 0
    assert {level: line["state"] for level, line in levels.items() if level != "all"} == {"memory": "ok", "disk": "ok"}


def test_answers_survive_sigkill_of_the_hub(house: House) -> None:
    house.echo()
    ask(house, "hello")
    hub = house.hub()
    hub.kill()
    gone([hub])
    assert hit(ask(house, "hello")) == "disk"


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ((), True),
        (("--temperature", "0"), True),
        (("--temperature", "0.9", "--seed", "1"), True),
        (("--temperature", "0.9"), False),
        (("--temperature", "0.9", "--cache"), True),
        (("--no-cache",), False),
    ],
)
def test_options_decide_whether_an_answer_is_stored(shared: House, options: tuple[str, ...], stored: bool) -> None:
    text = f"stored with {options}?"
    assert hit(ask(shared, text, *options)) is None
    assert hit(ask(shared, text, *options)) == ("memory" if stored else None)


def test_no_cache_neither_reads_nor_writes_the_cache(shared: House) -> None:
    assert hit(ask(shared, "neither", "--no-cache")) is None
    assert hit(ask(shared, "neither")) is None
    assert hit(ask(shared, "neither", "--no-cache")) is None


def on_disk(house: House) -> int:
    """Answers in the disk level."""
    levels = {line["level"]: line for line in house.ok("cache", "stats", "--json").lines}
    return int(levels["disk"]["entries"])


def test_refresh_computes_again_and_overwrites_the_stored_answer(shared: House) -> None:
    first = ask(shared, "refreshed").last
    entries = on_disk(shared)
    assert hit(ask(shared, "refreshed", "--refresh")) is None
    again = ask(shared, "refreshed").last
    assert again["cache"]["hit"] == "memory"
    assert again["cache"]["key"] == first["cache"]["key"], "the same question, whatever --refresh says"
    assert on_disk(shared) == entries


def test_cache_only_answers_from_the_cache_or_fails_with_status_13(shared: House) -> None:
    missed = shared.run("ask", "only stored", "--cache-only", "--json")
    assert missed.status == 13
    assert missed.error["code"] == "cache_miss"
    ask(shared, "only stored")
    assert hit(ask(shared, "only stored", "--cache-only")) == "memory"


def test_a_cache_hit_needs_no_loaded_model(shared: House) -> None:
    ask(shared, "unloaded")
    shared.ok("models", "unload", "echo")
    until(lambda: not shared.ps("echo"))
    assert hit(ask(shared, "unloaded")) == "memory"
    assert not shared.ps("echo")


def test_a_stored_answer_older_than_max_age_is_computed_again(shared: House) -> None:
    ask(shared, "too old")
    stored = time.monotonic()
    assert hit(ask(shared, "too old", "--max-age", "1h")) == "memory"
    until(lambda: time.monotonic() > stored + 0.3)
    assert hit(ask(shared, "too old", "--max-age", "0.2s")) is None
    assert hit(ask(shared, "too old", "--max-age", "1h")) == "memory", "the newer answer took the older one's place"


def test_a_cancelled_answer_is_never_stored(slow: House) -> None:
    asking = slow.spawn("ask", "-m", "slow", "p" * 400)
    asking.first_byte()
    asking.send_signal(signal.SIGINT)
    asking.end()
    assert slow.run("ask", "-m", "slow", "p" * 400, "--cache-only").status == 13


def test_an_answer_that_timed_out_is_never_stored(slow: House) -> None:
    slow.ok("models", "load", "slow")
    for limit in ("0.5s", "2s", "8s", "30s"):  # the first is enough where a token comes in half a second
        outcome = slow.run("ask", "-m", "slow", "q" * 400, "--timeout", limit, "--json")
        assert outcome.status == 7
        assert outcome.error["code"] == "timeout"
        if outcome.pieces:
            break
    assert 0 < len(outcome.pieces) < 400, "what came is printed first"
    assert slow.run("ask", "-m", "slow", "q" * 400, "--cache-only").status == 13


@pytest.mark.parametrize(
    "options",
    [
        ("--system", "be brief"),
        ("--max-tokens", "100"),
        ("--temperature", "0"),
        ("--seed", "3"),
        ("--top-p", "0.5"),
        ("--top-k", "5"),
        ("--min-p", "0.2"),
        ("--repeat-penalty", "1.2"),
        ("--presence-penalty", "0.5"),
        ("--frequency-penalty", "0.5"),
        ("--logit-bias", "5=1"),
        ("--stop", "zzz"),
        ("--raw",),
        ("-m", "other"),
        ("--user", "somebody"),
    ],
    ids=lambda options: options[0].strip("-"),
)
def test_options_that_change_the_answer_change_the_key(cached: House, options: tuple[str, ...]) -> None:
    plain = cached.run("ask", "the question", "--cache-only", "--json", "--no-stream")
    assert plain.status == 0
    assert cached.run("ask", "the question", "--cache-only", *options).status == 13


@pytest.mark.parametrize(
    "options", [("--tag", "x"), ("--timeout", "50s"), ("--no-stream",), ("--json",), ("--max-age", "5h")]
)
def test_options_that_do_not_change_the_answer_keep_the_key(cached: House, options: tuple[str, ...]) -> None:
    assert cached.run("ask", "the question", "--cache-only", *options).status == 0


@pytest.fixture(scope="module")
def cached(shared: House) -> House:
    shared.ok("models", "add", "other", "echo", "--force", "--set=first_ms=1")
    shared.ok("ask", "the question", "-m", "echo")
    return shared


def test_line_endings_and_a_byte_order_mark_do_not_change_the_key(shared: House) -> None:
    ask(shared, "one\ntwo")
    assert hit(ask(shared, "one\r\ntwo")) == "memory"
    assert hit(ask(shared, "\ufeffone\ntwo")) == "memory"
    assert hit(ask(shared, "One\ntwo")) is None, "nothing else is folded"


def test_a_changed_model_file_invalidates_its_stored_answers(house: House) -> None:
    house.echo()
    ask(house, "hello")
    house.ok("models", "add", "echo", "echo", "--force", "--set=token_ms=1")
    assert ask(house, "hello").last["text"] == "hello"


def test_another_file_under_the_same_model_name_gets_no_answers_of_the_first(house: House, tiny: object) -> None:
    from pathlib import Path

    from tests import tiny_gguf

    path = house.home / "model.gguf"
    tiny_gguf.write(path, seed=1, context=256)
    house.ok("models", "add", "m", path)
    options = ("--temperature", "0", "--max-tokens", "20")
    first = ask(house, "hello", *options)
    assert hit(ask(house, "hello", *options)) == "memory"
    house.ok("models", "unload", "m")
    tiny_gguf.write(path, seed=2, context=256)
    os.utime(path)
    second = ask(house, "hello", *options)
    assert hit(second) is None
    assert second.last["text"] != first.last["text"]
    assert isinstance(tiny, Path)


def test_users_share_answers_only_if_the_cache_scope_allows_it(house: House) -> None:
    house.variables["LLMCTL_CACHE__SCOPE"] = "[]"
    house.echo()
    assert hit(ask(house, "hello", "--user", "ana")) is None
    assert hit(ask(house, "hello", "--user", "bob")) == "memory"


def test_a_disabled_cache_stores_nothing(house: House) -> None:
    house.variables["LLMCTL_CACHE__ENABLED"] = "false"
    house.echo()
    ask(house, "hello")
    assert hit(ask(house, "hello")) is None


def test_every_history_record_has_user_and_tags(shared: House) -> None:
    ask(shared, "one", "--user", "rae", "--tag", "a", "--tag", "b")
    ask(shared, "one", "--user", "rae", "--tag", "c")
    assert shared.run("ask", "two", "--user", "rae", "--temperature", "9").status == 5
    records = shared.records(where="user = 'rae'")
    assert [row["user"] for row in records] == ["rae"] * 3
    assert ["a" in row["tags"] and "b" in row["tags"] for row in records] == [True, False, False]
    assert [row["hit"] for row in records] == [None, "memory", None]
    assert [row["state"] for row in records] == ["done", "done", "failed"]
    assert ask(shared, "three").last["user"] != ""


def test_cache_clear_asks_for_confirmation_and_reports_what_it_removed(house: House) -> None:
    house.echo()
    ask(house, "hello")
    refused = house.run("cache", "clear")
    assert refused.status == 2
    assert "--yes" in refused.err
    assert hit(ask(house, "hello")) == "memory"
    house.ok("cache", "clear", "--yes")
    assert hit(ask(house, "hello")) is None


def test_cache_stats_count_hits_misses_and_entries(house: House) -> None:
    house.echo()
    ask(house, "one")
    ask(house, "one")
    ask(house, "two")
    lines = house.ok("cache", "stats", "--json").lines
    memory = next(line for line in lines if line["level"] == "memory")
    assert (memory["hits"], memory["misses"], memory["entries"], memory["state"]) == (1, 2, 2, "ok")
    assert set(memory) == {"level", "hits", "misses", "errors", "entries", "bytes", "p50_ms", "state", "error"}
    assert lines[-1]["hit_rate"] == pytest.approx(1 / 3, abs=1e-3)
    assert set(lines[-1]) == {"level", "requests", "hit_rate", "joined", "saved_s", "saved_cost"}


def test_a_full_queue_refuses_new_requests_but_still_serves_cache_hits(house: House) -> None:
    house.variables["LLMCTL_LIMITS__QUEUE"] = "2"
    house.echo(slots=1)
    ask(house, "kept")
    with house.held():
        waiting = [house.spawn("ask", f"{n}" * 300) for n in range(3)]
        await_misses(house, 4)
        refused = house.run("ask", "one too many", "--json")
        assert refused.status == 10
        assert refused.error["code"] == "busy"
        assert hit(ask(house, "kept")) == "memory"
    assert [command.end().status for command in waiting] == [0, 0, 0]
