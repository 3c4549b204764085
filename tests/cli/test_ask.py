"""`llmctl ask` as a script sees it: streams, JSON lines, exit statuses, interruptions; against a small real hub."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from llmctl import errors
from tests.client.conftest import MakeFake
from tests.e2e.house import LLMCTL, PATIENCE_S, House, until, wait_for_the_hub


def test_stdout_has_only_the_answer(house: House, fake: MakeFake) -> None:
    hub = fake()
    outcome = house.ok("ask", "hello there you")
    assert (outcome.out, outcome.err) == ("hello there you\n", "llmctl: a notice\n")
    assert hub.asked["stream"] is True
    assert house.ok("ask", "ends with a newline\n").out == "ends with a newline\n"


def test_no_stream_requests_no_deltas(house: House, fake: MakeFake) -> None:
    hub = fake()
    assert house.ok("ask", "a b", "--no-stream", "-q").out == "a b\n"
    assert "stream" not in hub.asked
    outcome = house.ok("ask", "a b", "--no-stream", "--json")
    assert [line["text"] for line in outcome.lines] == ["a b"]


def test_json_lines(house: House, fake: MakeFake) -> None:
    fake()
    outcome = house.ok("ask", "a b", "--json", "-m", "long")
    assert [line.get("delta") for line in outcome.lines] == ["a", " b", None]
    assert "type" not in outcome.last
    assert outcome.last["finish_reason"] == "length"
    notices = [json.loads(line)["notice"] for line in outcome.err.splitlines()]
    assert notices[0] == "a notice"
    assert "cut" in notices[1]


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_each_error_code_has_its_exit_status(house: House, fake: MakeFake, json_flag: Sequence[str]) -> None:
    fake()
    commands = {
        code: house.spawn("ask", "x", "--no-stream", "-m", f"fails-{code}", *json_flag) for code in errors.ERRORS
    }
    for code, kind in errors.ERRORS.items():
        outcome = commands[code].end()
        assert outcome.status == kind.status, code
        if json_flag:
            assert outcome.error == {"code": code, "message": f"failed with {code}", "hint": "do this"}
        else:
            assert outcome.err == f"llmctl: failed with {code}\ndo this\n"


def test_a_partial_answer_is_printed_before_the_error(house: House, fake: MakeFake) -> None:
    fake()
    for stream in ([], ["--no-stream"]):
        outcome = house.run("ask", "what came", "-m", "fails-timeout", *stream)
        assert (outcome.status, outcome.out) == (7, "what came\n")
        outcome = house.run("ask", "what came", "-m", "fails-timeout", "--json", *stream)
        assert (outcome.last["text"], outcome.last["finish_reason"]) == ("what came", "timeout")


def test_a_failed_extraction_leaves_stdout_empty(house: House, fake: MakeFake) -> None:
    hub = fake()
    assert house.ok("ask", "a b", "-x", "-q").out == "a b\n"
    assert hub.asked["extract"] == "first"
    assert house.run("ask", "a b", "--xl", "-m", "fails-incomplete").out == ""
    assert house.run("ask", "a b", "--xl", "-m", "fails-timeout", "--json").out == ""


def test_a_request_cancelled_from_elsewhere(house: House, fake: MakeFake) -> None:
    fake()
    outcome = house.run("ask", "a b", "-m", "elsewhere", "--json")
    assert (outcome.status, outcome.last["finish_reason"]) == (143, "cancelled")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_an_interrupted_answer(
    house: House, fake: MakeFake, number: signal.Signals, status: int, json_flag: Sequence[str]
) -> None:
    hub = fake()
    asking = house.spawn("ask", "what came", "-m", "slow", *json_flag)
    asking.first_byte()
    until(lambda: "generate" in hub.kinds())
    asking.send_signal(number)
    outcome = asking.end()
    assert outcome.status == status
    assert "cancel" in hub.kinds()
    if json_flag:
        assert (outcome.last["text"], outcome.last["finish_reason"]) == ("what came", "cancelled")
        assert outcome.last["id"] == "0123", "the hub's own words, not the client's"
    else:
        assert outcome.out == "what came\n"
    assert "Traceback" not in outcome.err


def test_a_second_ctrl_c_quits_at_once(house: House, fake: MakeFake) -> None:
    """The hub is frozen, so the first one waits for what came, here without end."""
    wait_for_the_hub(house)
    hub = fake()
    asking = house.spawn("ask", "what came", "-m", "slow")
    asking.first_byte()
    os.kill(hub.process.pid, signal.SIGSTOP)
    asking.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        asking.wait(0.3)
    until(asking.interrupt, what="its end, by one more signal")
    assert asking.end().status == 130


@pytest.mark.parametrize("module", ["typer", "msgspec", "zmq", "llmctl.cli.console.stdin"])
def test_ctrl_c_during_the_imports_prints_no_traceback(house: House, fake: MakeFake, module: str) -> None:
    """Python itself tells on stderr what it has just imported; the signal comes in the middle of the rest."""
    fake()
    asking = subprocess.Popen(
        [sys.executable, "-X", "importtime", str(LLMCTL), "ask", "-q", "-m", "slow", "a b"],
        env=house.environ(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with asking:
        assert asking.stderr is not None
        for line in asking.stderr:
            if line.rpartition("|")[2].strip() == module:
                asking.send_signal(signal.SIGINT)
                break
        else:
            raise AssertionError(f"{module} was never imported")
        said = [line for line in asking.stderr if not line.startswith("import time:")]
    assert asking.returncode in (-signal.SIGINT, 130)
    assert said == []


def test_an_ignored_signal_stays_ignored(house: House, fake: MakeFake) -> None:
    fake()
    outcome = house.shell("trap '' INT; llmctl ask -q 'a b' & kill -INT $!; wait $!")
    assert (outcome.status, outcome.out) == (0, "a b\n")


def test_a_closed_pipe_ends_the_command_quietly(house: House, fake: MakeFake) -> None:
    hub = fake("flood")
    outcome = house.shell("llmctl ask x | head -1")
    assert (outcome.status, outcome.out, outcome.err) == (0, "line 0\n", "")
    until(lambda: "cancel" in hub.kinds(), what="the generation is cancelled")


def test_a_closed_stdout_and_a_closed_stderr(house: House, fake: MakeFake) -> None:
    fake()
    assert house.shell("llmctl ask x -m long >&-; echo $?").out == "0\n"
    assert house.shell("llmctl ask x -m long 2>&-").out == "x\n"
    assert house.shell("llmctl ask x <&-").out == "x\n"


def test_a_hub_that_dies_during_the_answer(house: House, fake: MakeFake) -> None:
    hub = fake("vanishes")
    outcome = house.run("ask", "x", "--json")
    assert outcome.status == 3
    assert str(hub.process.pid) in outcome.error["message"]
    assert outcome.pieces == "the first words"


def test_reasoning_in_a_pipe_and_in_json(house: House, fake: MakeFake) -> None:
    fake()
    assert house.ok("ask", "x", "-m", "thinks", "-q").err == ""
    assert house.ok("ask", "x", "-m", "thinks", "-q", "--reasoning", "show").err == "let me see\n"
    assert house.ok("ask", "x", "-m", "thinks", "--json").last["reasoning"] == "let me see"
    assert house.ok("ask", "x", "-m", "thinks", "--json", "--reasoning", "hide").last["reasoning"] is None
    assert house.run("ask", "x", "--reasoning", "maybe").status == 2


def test_reasoning_in_a_terminal_is_dimmed(house: House, fake: MakeFake) -> None:
    fake()
    assert b"\x1b[2mlet me see\x1b[22m\r\nx" in house.in_terminal("ask", "x", "-m", "thinks")
    assert b"let me see\r\nx" in house.in_terminal("ask", "x", "-m", "thinks", NO_COLOR="1")
    assert b"let me see\r\nx" in house.in_terminal("ask", "x", "-m", "thinks", TERM="dumb")
    assert b"let me see" not in house.in_terminal("ask", "x", "-m", "thinks", "--reasoning", "hide")


def test_no_escape_bytes_in_a_pipe(house: House, fake: MakeFake) -> None:
    fake()
    commands = [
        ["ask", "x", "-m", "thinks", "--reasoning", "show"], ["--help"], ["ask", "--help"], ["ps"], ["models", "ls"],
        ["cache", "stats"], ["ask"], ["nonsense"], ["config", "show"], ["models", "load", "fake"],
    ]  # fmt: skip
    for outcome in [house.spawn(*command) for command in commands]:
        ended = outcome.end()
        assert "\x1b" not in ended.out + ended.err


def test_a_notice_waits_for_the_end_of_the_answer_in_a_terminal(house: House, fake: MakeFake) -> None:
    """The fake hub says it when all the words are out, and the end of their line is not."""
    fake()
    together = "so it is\nllmctl: a notice\n"
    assert house.shell("llmctl ask 'so it is' 2>&1").out == together
    assert house.shell("llmctl ask 'so it is' >both 2>&1; cat both").out == together
    assert house.shell("llmctl ask 'so it is' >one 2>two; cat one two").out == together
    assert house.in_terminal("ask", "so it is") == together.replace("\n", "\r\n").encode()
    failed = house.shell("llmctl ask 'so it is' -m fails-internal 2>&1")
    assert failed.out == "so it is\nllmctl: failed with internal\ndo this\n"
    lines = house.shell("llmctl ask 'so it is' --json 2>&1").lines
    assert {"notice": "a notice"} in lines
    assert b'{"notice":"a notice"}\r\n' in house.in_terminal("ask", "so it is", "--json")


def test_save_stores_a_template_and_sends_nothing(house: House, fake: MakeFake) -> None:
    hub = fake()
    outcome = house.ok("ask", "About {topic}", "-s", "brief", "-p", "topic=x", "--temperature", "0", "--save", "about")
    assert outcome.out == ""
    assert "about" in outcome.err
    assert not (hub.paths.run / "seen.jsonl").read_bytes()
    house.ok("ask", "-t", "about", "-p", "topic=cats", "-q")
    asked = hub.asked
    assert (asked["prompt"], asked["system"], asked["params"], asked["declared"], asked["temperature"]) == (
        "About {topic}", "brief", {"topic": "cats"}, {"topic": "x"}, 0.0,
    )  # fmt: skip
    assert "replaces" not in outcome.err
    assert (
        "about.yaml, where it replaces the earlier one; " in house.ok("ask", "Briefly: {topic}", "--save", "about").err
    )


def test_each_flag_sets_its_own_option(house: House) -> None:
    """What the shell was given is what the template holds: no two flags are exchanged on the way."""
    one = {
        "system": "s", "overflow": "head", "conversation": "talk", "model": "m", "keep_alive": "5m", "priority": "high",
        "timeout": "90s", "max_tokens": 7, "temperature": 0.5, "top_p": 0.6, "top_k": 8, "min_p": 0.7,
        "repeat_penalty": 1.1, "presence_penalty": 1.2, "frequency_penalty": 1.3, "seed": 9, "n": 2, "schema": "name",
        "think": "low", "reasoning": "hide", "logprobs": 3, "max_age": "2h",
    }  # fmt: skip
    switches = ["raw", "repro", "explain", "no_cache"]
    words = [word for name, value in one.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words += [f"--{name.replace('_', '-')}" for name in switches]
    words += ["-f", "notes.txt", "--stop", "END", "--tag", "trip", "--adapter", "a=0.5", "--logit-bias", "12=-3"]
    house.ok("ask", "why?", "-p", "k=v", *words, "--semantic", "--save", "all")
    template = house.ok("templates", "show", "all", "--json").last
    many = {
        "file": ["notes.txt"], "stop": ["END"], "tag": ["trip"], "adapter": ["a=0.5"], "logit_bias": {"12": -3.0},
    }  # fmt: skip
    given = {name: value for name, value in template.items() if name in {*one, *many, *switches, "prompt", "semantic"}}
    assert given == {"prompt": "why?", **one, **dict.fromkeys(switches, True), "semantic": True, **many}
    assert template["params"] == {"k": "v"}


@pytest.mark.parametrize("flag", ["--tier=auto"])
def test_a_planned_option_does_not_exist_yet(house: House, flag: str) -> None:
    outcome = house.run("ask", "x", flag)
    assert outcome.status == 2
    assert "--help" in outcome.err


@pytest.mark.parametrize("arguments", [["--seed", "x"], ["--top-p"], ["a", "b"], ["--logit-bias", "5"], ["-p", "x"]])
def test_invalid_arguments(house: House, arguments: Sequence[str]) -> None:
    assert house.run("ask", *arguments).status == 2


def test_the_hub_checks_ranges(house: House, fake: MakeFake) -> None:
    hub = fake()
    house.ok("ask", "x", "--temperature", "99", "--max-tokens", "-1")
    assert (hub.asked["temperature"], hub.asked["max_tokens"]) == (99.0, -1)


def test_an_early_signal_is_an_error_in_json(house: House, fake: MakeFake) -> None:
    """Here while stdin is read: no request has been made, so there is no answer to print a part of."""
    fake()
    reader, writer = os.pipe()
    command = subprocess.Popen(
        [str(LLMCTL), "ask", "hi", "--json"], stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=house.home, env=house.environ(),
    )  # fmt: skip
    os.close(reader)
    assert command.stderr is not None
    command.stderr.readline()  # it waits for stdin
    command.send_signal(signal.SIGTERM)
    out, err = command.communicate(timeout=PATIENCE_S)
    os.close(writer)
    assert (command.returncode, out) == (143, b"")
    assert json.loads(err.splitlines()[-1])["error"]["code"] == "cancelled"
