"""The built-in guide, as somebody meets it who has just installed llmctl: one question, no model, no network."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import House, house, until

QUESTION = "How do I use my own model file?"
COMMAND = "llmctl models add"
"""What the answer to QUESTION contains."""
FETCH = "`llmctl pull "
"""What each refusal says."""
UNRELATED = "What is the capital of France?"
DAY_S = 86400


@pytest.fixture(scope="module")
def asked() -> Iterator[House]:
    """A home without models, whose hub the tests share."""
    with house() as made:
        made.ok("ask", QUESTION)
        yield made


def refused(home: House, *arguments: object, stdin: str | None = None) -> None:
    """Status 4, nothing on stdout, and the line that fetches a model."""
    outcome = home.run("ask", *arguments, stdin=stdin)
    assert (outcome.status, outcome.out) == (4, ""), outcome
    assert FETCH in outcome.err
    assert "Traceback" not in outcome.err


# ---- answers --------------------------------------------------------------------------------------------------------


def test_a_question_about_llmctl_is_answered_in_an_empty_home_and_introduced_once_a_day() -> None:
    with house() as home:
        first = home.ok("ask", QUESTION)
        assert COMMAND in first.out
        (notice,) = first.err.splitlines()
        assert "guide" in notice
        assert FETCH in notice
        assert home.ok("ask", QUESTION, "--refresh").err == ""
        assert home.ok("ask", "-m", "guide", QUESTION, "--refresh").err == ""
        home.stop()
        assert home.ok("ask", QUESTION, "--refresh").err == "", "the next hub remembers"
        told = home.place / "state" / "guide-told"
        yesterday = time.time() - DAY_S - 1
        os.utime(told, (yesterday, yesterday))
        assert "guide" in home.ok("ask", QUESTION, "--refresh").err


def test_an_answer_as_json_streamed_or_whole_or_in_samples(asked: House) -> None:
    streamed = asked.ok("ask", QUESTION, "--json", "--refresh")
    assert streamed.pieces == streamed.last["text"]
    assert len(streamed.lines) > 2, "it comes in pieces"
    assert (streamed.last["model"], streamed.last["finish_reason"]) == ("guide", "stop")
    (whole,) = asked.ok("ask", QUESTION, "--json", "--no-stream", "--refresh").lines
    assert whole["text"] == streamed.last["text"]
    texts = [line["text"] for line in asked.ok("ask", QUESTION, "-n", 2, "--json", "--no-stream").lines]
    assert texts == [whole["text"]] * 2


def test_an_equal_question_is_answered_from_the_cache(asked: House) -> None:
    asked.ok("ask", QUESTION)
    again = asked.ok("ask", QUESTION, "--json", "--no-stream")
    assert again.last["cache"]["hit"] == "memory"
    assert COMMAND in again.last["text"]


def test_nothing_is_embedded_for_the_guide(asked: House) -> None:
    explained = asked.ok("ask", QUESTION, "--semantic", "--refresh", "--explain").err
    assert "semantic   not searched" in explained
    assert {line["name"] for line in asked.ok("ps", "--json").lines} == {"guide"}


# ---- refusals -------------------------------------------------------------------------------------------------------


OF_ANY_REQUEST = [
    (),
    ("--no-stream",),
    ("-n", 3),
    ("-m", "guide"),
    ("--max-tokens", 3),
    ("--max-tokens", 1),
    ("--explain",),
]
MORE_THAN_A_QUESTION = [
    ("-f", "text.txt"), ("-s", "Be brief."), ("--schema", "name"), ("--raw",), ("--conversation", "talk"), ("-x",), ("-p", "a=b"),
    ("-t", "./brief.yaml"), ("-c",),
]  # fmt: skip


@pytest.mark.parametrize("options", OF_ANY_REQUEST, ids=str)
def test_a_question_about_anything_else_is_no_answer(asked: House, options: tuple[object, ...]) -> None:
    refused(asked, UNRELATED, *options)
    outcome = asked.run("ask", UNRELATED, *options, "--json")  # a second time, from whatever was stored
    assert (outcome.status, outcome.out, outcome.error["code"]) == (4, "", "model_unavailable")
    assert FETCH in outcome.error["hint"]


def test_more_than_a_question_is_refused_without_running_the_guide(house: House) -> None:
    (house.home / "text.txt").write_text("a text\n")
    (house.home / "brief.yaml").write_text("prompt: Briefly.\n")
    house.ok("ask", QUESTION)  # there is a conversation to continue
    house.ok("models", "unload", "guide")
    for options in MORE_THAN_A_QUESTION:
        refused(house, QUESTION, *options)
    assert house.ok("ps", "--json").lines == []


def test_stdin_is_refused_without_running_the_guide(house: House) -> None:
    refused(house, QUESTION, stdin="a text\n")
    refused(house, stdin=QUESTION)
    refused(house, "-m", "guide", QUESTION, stdin="a text\n")
    assert house.ok("ps", "--json").lines == []
    piped = house.shell(f"echo text | llmctl ask '{QUESTION}' | wc -c")
    assert (piped.status, piped.out.strip()) == (4, "0")
    house.ok("ask", QUESTION, stdin="")


def test_a_question_that_is_too_long_is_refused(asked: House) -> None:
    refused(asked, "how do I pipe " * 2000)


def test_chat_and_programs_are_not_answered_by_the_guide(asked: House) -> None:
    chat = asked.run("chat", stdin=QUESTION)
    assert (chat.status, chat.out) == (4, "")
    assert FETCH in chat.err
    asking = f"from llmctl import Client; print(Client().ask({QUESTION!r}"
    assert "ModelUnavailable" in asked.python(f"{asking}))").end().err
    assert COMMAND in asked.python(f"{asking}, model='guide').text)").end().out


# ---- beside other models --------------------------------------------------------------------------------------------


def test_switched_off_it_answers_only_where_it_is_named(house: House) -> None:
    outcome = house.run("ask", QUESTION, LLMCTL_DEFAULTS__GUIDE="false")
    assert (outcome.status, outcome.out) == (4, "")
    assert FETCH in outcome.err
    assert COMMAND in house.ok("ask", "-m", "guide", QUESTION, LLMCTL_DEFAULTS__GUIDE="false").out


def test_a_model_that_is_added_answers_at_once_and_gets_nothing_of_what_the_guide_said() -> None:
    with house() as home:
        guide = home.ok("ask", QUESTION)
        home.echo("mine")
        assert home.run("ask", QUESTION, "--cache-only").status == 13
        assert home.ok("ask", QUESTION, "-q").out == f"{QUESTION}\n"
        assert home.ok("ask", "and then?", "-c", "--json", "--no-stream").last["model"] == "mine"
        assert home.ok("ask", QUESTION, "-m", "guide", "-q").out == guide.out
        unrelated = home.run("ask", UNRELATED, "-m", "guide")
        assert (unrelated.status, unrelated.out) == (4, "")
        assert "models ls" in unrelated.err
        home.ok("models", "rm", "mine", "--yes")
        assert home.ok("ask", QUESTION, "-q").out == guide.out


def test_it_runs_beside_a_model_that_fills_the_memory() -> None:
    with house(LLMCTL_LIMITS__MEMORY_BYTES="10M") as home:
        home.echo("big", takes="10M")
        home.ok("models", "load", "big")
        home.ok("ask", QUESTION, "-m", "guide")
        assert {line["name"] for line in home.ok("ps", "--json").lines} == {"big", "guide"}


def test_a_pin_in_the_configuration_loads_it_when_the_hub_starts() -> None:
    with house(LLMCTL_MODELS__GUIDE__PIN="true") as home:
        home.ok("daemon", "start")
        assert until(lambda: home.ps("guide").get("state") == "ready")
        assert home.ps("guide")["until"] is None


def test_it_is_shown_and_can_be_neither_added_nor_removed_nor_pinned(asked: House) -> None:
    shown = asked.ok("models", "show", "guide", "--json").last
    assert (shown["name"], shown["backend"], shown["default"]) == ("guide", "llama.cpp", False)
    assert asked.ok("models", "ls", "--json").out == ""
    for command in (("add", "guide", "echo", "--force"), ("rm", "guide", "--yes"), ("pin", "guide")):
        outcome = asked.run("models", *command)
        assert outcome.status == 2, outcome
        assert "built in" in outcome.err or "built-in" in outcome.err
    asked.ok("models", "unload", "guide")
    asked.ok("models", "load", "guide")


def test_a_model_of_that_name_that_was_added_earlier_keeps_it() -> None:
    with house() as home:
        home.echo("old")
        file = home.place / "models" / "old.json"
        (home.place / "models" / "guide.json").write_text(file.read_text().replace('"old"', '"guide"'))
        home.ok("models", "rm", "old", "--yes")
        home.stop()
        assert home.ok("ask", UNRELATED, "-q").out == f"{UNRELATED}\n"
        home.ok("models", "rm", "guide", "--yes")
        refused(home, UNRELATED)


# ---- interrupted ----------------------------------------------------------------------------------------------------


def test_an_interrupt_before_its_first_word_prints_nothing(asked: House) -> None:
    with asked.held("guide"):
        command = asked.spawn("ask", QUESTION, "--refresh")
        until(lambda: asked.status()["requests_in_flight"])
        until(command.interrupt)
    outcome = command.end()
    assert (outcome.status, outcome.out) == (130, "")
    assert COMMAND in asked.ok("ask", QUESTION, "--refresh").out


def test_an_engine_that_is_killed_is_started_again(asked: House) -> None:
    with asked.held("guide"):
        pid = asked.ps("guide")["pid"]
        command = asked.spawn("ask", QUESTION, "--refresh")
        until(lambda: asked.status()["requests_in_flight"])
        os.kill(pid, signal.SIGKILL)
    outcome = command.end()
    assert outcome.status == 0, outcome
    assert COMMAND in outcome.out
    assert asked.ps("guide")["pid"] != pid


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_the_history_has_its_answers_and_counts_its_refusals_as_failures(asked: House) -> None:
    asked.ok("ask", QUESTION, "--refresh", "--user", "ana")
    asked.run("ask", UNRELATED, "--user", "ana")
    answered, failed = asked.records("model, state, code, text, completion_tokens", "user = 'ana'")
    assert (answered["model"], answered["state"], answered["code"]) == ("guide", "done", None)
    assert COMMAND in answered["text"]
    assert answered["completion_tokens"] > 0
    assert (failed["model"], failed["state"], failed["code"]) == ("guide", "failed", "model_unavailable")
    assert not failed["text"]


def test_its_file_is_part_of_the_package_and_names_its_refusal(asked: House) -> None:
    from llmctld.models.catalogue.header import read_header

    path = Path(asked.ok("models", "show", "guide", "--json").last["target"])
    assert path.stat().st_size <= 8 * 2**20
    header = read_header(path)
    assert str(header["llmctl.guide.refusal"]).startswith("I only know llmctl")
    assert "tokenizer.chat_template" in header
