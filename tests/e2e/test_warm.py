"""`llmctl cache warm`: rows become stored answers; each kind of row, each invalid one, and interruptions."""

import json
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.house import House, until
from tests.e2e.house import house as a_house


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with a_house() as made:
        yield made.echo()


def rows(house: House, *values: object, name: str = "rows.jsonl") -> str:
    (house.home / name).write_text("".join(f"{json.dumps(value)}\n" for value in values))
    return name


def warmed(house: House, *values: object) -> list[dict[str, object]]:
    return house.ok("cache", "warm", rows(house, *values), "--json").lines


def hits(house: House) -> tuple[int, int]:
    total = house.ok("cache", "stats", "--json").last
    return int(total["requests"]), int(total["joined"])


def test_a_warmed_answer_is_served_from_the_cache(house: House) -> None:
    (line,) = warmed(house, {"prompt": "warm me"})
    assert (line["line"], line["outcome"], line["model"], line["error"]) == (1, "generated", "echo", None)
    answer = house.ok("ask", "warm me", "--json", "--no-stream").last
    assert (answer["text"], answer["cache"]["hit"], answer["cache"]["key"]) == ("warm me", "memory", line["key"])


def test_an_answer_given_in_a_row_is_stored_without_generating(house: House) -> None:
    (line,) = warmed(house, {"prompt": "the capital of France?", "text": "Paris."})
    assert line["outcome"] == "given"
    assert house.ok("ask", "the capital of France?").out == "Paris.\n"


def test_stored_rows_are_skipped_and_do_not_count_as_requests(house: House) -> None:
    before = hits(house)
    row = {"prompt": "once is enough"}
    assert [line["outcome"] for line in warmed(house, row)] == ["generated"]
    assert [line["outcome"] for line in warmed(house, row)] == ["stored"]
    assert [line["outcome"] for line in warmed(house, row | {"text": "another"})] == ["stored"]
    assert [line["outcome"] for line in warmed(house, row | {"text": "another", "refresh": True})] == ["given"]
    assert hits(house) == before
    assert house.ok("ask", "once is enough").out == "another\n"


def test_a_row_accepts_every_option_of_ask(house: House) -> None:
    row = {"id": 7, "prompt": "Say {what}", "param": {"what": "hello"}, "system": "Be brief.", "max-tokens": 5, "tag": ["a"],
           "user": "ana", "temperature": 0.5, "seed": 3, "stop": ["x"]}  # fmt: skip
    (line,) = warmed(house, row)
    assert (line["id"], line["outcome"]) == ("7", "generated")
    same = ["ask", "Say {what}", "-p", "what=hello", "-s", "Be brief.", "--max-tokens", 5, "--temperature", 0.5, "--seed", 3,
            "--stop", "x", "--user", "ana", "--json", "--no-stream"]  # fmt: skip
    assert house.ok(*same).last["cache"]["key"] == line["key"]


def test_a_given_answer_is_validated_against_the_schema(house: House) -> None:
    good, bad = '{"name": "bo"}', "no json"
    row = {"prompt": "who?", "schema": "name"}
    outcome = house.run("cache", "warm", rows(house, row | {"text": bad}, row | {"text": good}), "--json")
    assert outcome.status == 8
    assert [line["outcome"] for line in outcome.lines] == [None, "given"]
    assert outcome.lines[0]["error"]["code"] == "incomplete"
    assert house.ok("ask", "who?", "--schema", "name", "--json", "--no-stream").last["value"] == {"name": "bo"}


def test_rows_are_read_from_stdin_and_flags_are_their_defaults(house: House) -> None:
    text = '{"prompt": "by stdin"}\n\n{"prompt": "by stdin", "user": "bob"}'
    lines = house.ok("cache", "warm", "-", "--user", "ana", "-m", "echo", "--json", stdin=text).lines
    assert [(line["line"], line["outcome"]) for line in lines] == [(1, "generated"), (3, "generated")]
    for user in ("ana", "bob"):
        answer = house.ok("ask", "by stdin", "--user", user, "--json", "--no-stream").last
        assert answer["cache"]["hit"] == "memory"


def test_stdout_is_only_json_and_stderr_has_the_summary(house: House) -> None:
    house.ok("models", "load", "echo")
    outcome = house.ok("cache", "warm", rows(house, {"prompt": "sum 1"}, {"prompt": "sum 2", "text": "2"}))
    assert outcome.out == ""
    assert outcome.err == "llmctl: 2 lines: 1 generated, 1 given\n"
    assert house.ok("cache", "warm", rows(house), "-q").err == ""


def test_all_samples_of_a_row_are_warmed_together(house: House) -> None:
    (line,) = warmed(house, {"prompt": "twice", "n": 2, "temperature": 0.5, "seed": 1})
    assert line["outcome"] == "generated"
    again = house.ok("ask", "twice", "-n", 2, "--temperature", 0.5, "--seed", 1, "--json", "--no-stream").lines
    assert [answer["cache"]["hit"] for answer in again] == ["memory", "memory"]


def test_warming_adds_no_conversation_and_records_only_computed_answers(house: House) -> None:
    house.ok("ask", "the conversation", "--user", "eve")
    warmed(house, {"prompt": "h 1", "user": "eve"}, {"prompt": "h 2", "text": "b", "user": "eve"})
    warmed(house, {"prompt": "h 1", "user": "eve"})
    found = house.records("prompt, state, conversation", "user = 'eve'")
    assert [(row["prompt"], row["state"]) for row in found] == [("the conversation", "done"), ("h 1", "done")]
    assert found[1]["conversation"] is None
    house.ok("ask", "go on", "-c", "--user", "eve")
    last = house.records("prompt, conversation", "user = 'eve'")[-1]
    assert last == {"prompt": "go on", "conversation": found[0]["conversation"]}


BAD = [
    ("not json", "this is not JSON", 5),
    ("[1]", "this is not a JSON object", 5),
    ('{"text": "a"}', "there is no prompt", 5),
    ('{"prompt": "a", "temprature": 1}', "temprature: `ask` has no such option", 5),
    ('{"prompt": "b", "top_k": 1.5x}', "this is not JSON: error at character 29, in ", 5),
    ('{"prompt": "b"', "this is not JSON: it ends too early", 5),
    ('{"prompt": "b", "seed": 1e400}', "this is not JSON: number out of range", 5),
    ('{"prompt": 6}', "prompt is 6; it must be a string", 5),
    ('{"prompt": "a", "max_tokens": "ten"}', 'max_tokens is "ten"; it must be a whole number', 5),
    ('{"prompt": "a", "stop": ["x", 5]}', "stop[1] is 5; it must be a string", 5),
    ('{"prompt": "a", "logit_bias": {"b": "c"}}', 'logit_bias is {"b":"c"}; it must be a number', 5),
    ('{"prompt": "a", "text": 1}', "text is 1, not a string", 5),
    ('{"prompt": "a", "text": " "}', "is empty", 5),
    ('{"prompt": "a", "max_tokens": 0}', "max_tokens is 0", 5),
    ('{"prompt": "a", "temperature": 0.7}', "no seed", 5),
    ('{"prompt": "a", "conversation": "c"}', "earlier turns of a conversation", 5),
    ('{"prompt": "a", "continue": true}', "earlier turns of a conversation", 5),
    ('{"prompt": "a", "no_cache": true}', "stores every answer", 5),
    ('{"prompt": "a", "cache-only": true}', "stores every answer", 5),
    ('{"prompt": "a", "n": 2, "text": "b"}', "one answer is given", 5),
    ('{"prompt": "a", "file": "nix.txt"}', "there is no file nix.txt", 5),
    ('{"prompt": "a", "schema": "{"}', "", 2),
    ('{"prompt": "a", "refresh": true, "cache": true}', "exclude each other", 2),
    ('{"prompt": "a", "model": "nix"}', "there is no model 'nix'", 4),
]


def test_each_invalid_row_is_named_by_line_and_the_others_are_stored(house: House) -> None:
    lines = [line for bad, _, _ in BAD for line in (bad, json.dumps({"prompt": f"beside {bad}"}))]
    (house.home / "bad.jsonl").write_text("\n".join(lines))
    outcome = house.run("cache", "warm", "bad.jsonl", "--json")
    assert outcome.status == 5, "the first bad row's own"
    assert [line["line"] for line in outcome.lines] == list(range(1, len(lines) + 1))
    for (bad, words, _), line in zip(BAD, outcome.lines[::2], strict=True):
        assert line["outcome"] is None, bad
        assert words in line["error"]["message"], bad
    assert {line["outcome"] for line in outcome.lines[1::2]} == {"generated"}
    assert outcome.error["message"].startswith("line 1: this is not JSON")
    assert f"{len(BAD)} of {2 * len(BAD)} lines failed" in outcome.error["message"]


@pytest.mark.parametrize(("line", "status"), [(bad, status) for bad, _, status in BAD if status != 5])
def test_the_status_is_that_of_the_first_invalid_row(house: House, line: str, status: int) -> None:
    (house.home / "one.jsonl").write_text(line)
    assert house.run("cache", "warm", "one.jsonl").status == status


def test_a_row_that_is_not_utf8_is_an_invalid_row(house: House) -> None:
    (house.home / "bytes.jsonl").write_bytes(b'{"prompt": "\xff"}\n{"prompt": "text"}\n')
    outcome = house.run("cache", "warm", "bytes.jsonl", "--json")
    assert outcome.status == 5
    assert "0xff at offset 12" in outcome.lines[0]["error"]["message"]
    assert outcome.lines[1]["outcome"] == "generated"


def test_a_byte_order_mark_before_the_first_row_is_skipped(house: House) -> None:
    text = '\ufeff{"prompt": "marked"}\n{"prompt": "unmarked"}\n'
    (house.home / "marked.jsonl").write_text(text, encoding="utf-8")
    for file, stdin in (("marked.jsonl", None), ("-", text)):
        lines = house.ok("cache", "warm", file, "--json", stdin=stdin).lines
        assert [line["error"] for line in lines] == [None, None]


def test_a_missing_file_a_folder_and_a_closed_stdin_are_refused(house: House) -> None:
    rows(house)  # the one that is near
    missing = house.run("cache", "warm", "rows.json")
    assert (missing.status, "rows.jsonl" in missing.err) == (5, True)
    folder = house.run("cache", "warm", "/tmp")
    assert folder.err.startswith("llmctl: /tmp is a folder, not a file\nName a file of JSON lines, or - for stdin.\n")
    closed = house.shell("llmctl cache warm - <&-")
    assert (closed.status, "stdin is closed" in closed.err) == (2, True)


def test_an_answer_too_large_for_every_level_is_an_invalid_row() -> None:
    with a_house(LLMCTL_CACHE__MEMORY_BYTES="1K", LLMCTL_CACHE__DISK_BYTES="0") as house:
        house.echo()
        large = {"prompt": "large", "text": "x" * 2000}
        outcome = house.run("cache", "warm", rows(house, large, {"prompt": "small", "text": "y"}), "--json")
        assert outcome.status == 14
        assert [line["outcome"] for line in outcome.lines] == [None, "given"]
        assert "no level of the cache accepted it" in outcome.lines[0]["error"]["message"]


def test_a_disabled_cache_warms_only_rows_that_enable_it() -> None:
    with a_house(LLMCTL_CACHE__ENABLED="false") as house:
        house.echo()
        outcome = house.run("cache", "warm", rows(house, {"prompt": "a"}, {"prompt": "b", "cache": True}), "--json")
        assert outcome.status == 5
        assert "cache.enabled is false" in outcome.lines[0]["error"]["message"]
        assert outcome.lines[1]["outcome"] == "generated"


def test_rows_beyond_the_queue_limit_wait_and_leave_room_for_others() -> None:
    with a_house(LLMCTL_LIMITS__QUEUE="1") as house:
        house.echo(slots=1, token_ms=2)
        texts = [f"{number} " + "x" * 200 for number in range(6)]
        file = rows(house, *({"prompt": text, "max_tokens": 2000} for text in texts))
        command = house.spawn("cache", "warm", file, "--json")
        assert command.stdout is not None
        command.begun += command.stdout.readline()
        (engine,) = house.engines()
        engine.suspend()  # until the user asks
        asking = house.spawn("ask", "a user has the queue to himself")
        until(lambda: house.records(where="prompt LIKE 'a user%'"), what="the request of a user")
        engine.resume()
        assert asking.end().out == "a user has the queue to himself\n"
        outcome = command.end()
        assert (outcome.status, [line["outcome"] for line in outcome.lines]) == (0, ["generated"] * 6), outcome
        assert house.ok("cache", "warm", file, "--json").lines[-1]["outcome"] == "stored"


def test_ctrl_c_keeps_finished_rows_and_the_next_run_continues() -> None:
    with a_house() as house:
        house.echo(slots=1, token_ms=2)
        file = rows(
            house, *({"prompt": f"row {number}"} for number in range(3)), {"prompt": "x" * 5000, "max_tokens": 5000}
        )
        command = house.spawn("cache", "warm", file, "--json")
        for _ in range(3):
            assert command.stdout is not None
            command.begun += command.stdout.readline()
        command.send_signal(signal.SIGINT)
        outcome = command.end()
        assert outcome.status == 130
        assert [line["outcome"] for line in outcome.lines] == ["generated"] * 3
        assert "run the same command again to resume" in outcome.err
        until(lambda: house.busy("echo") == 0, what="the engine is free")
        (house.home / file).write_text("".join(f'{{"prompt": "row {number}"}}\n' for number in range(4)))
        again = house.ok("cache", "warm", file, "--json").lines
        assert [line["outcome"] for line in again] == ["stored"] * 3 + ["generated"]


def test_a_stopping_hub_ends_warming_without_blaming_a_row() -> None:
    with a_house() as house:
        house.echo(slots=1, token_ms=2)
        command = house.spawn(
            "cache", "warm", rows(house, {"prompt": "a"}, {"prompt": "x" * 5000, "max_tokens": 5000}), "--json"
        )
        assert command.stdout is not None
        command.begun += command.stdout.readline()
        house.ok("daemon", "stop", "--timeout", "0s")
        outcome = command.end()
        assert outcome.status == 143
        assert [line["outcome"] for line in outcome.lines] == ["generated"]
