"""`--overflow`: a text that is too long is cut only in the named part, and a notice states what was cut."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_gguf
from tests.e2e.house import House, Outcome
from tests.e2e.house import house as a_house
from tests.faulty_server import Behaviour, Exchange, answer, server, status

LINES = "\n".join(f"line {number:03} of a long log" for number in range(100))
"""2,499 characters, and as many of echo's tokens."""
CONTEXT, ANSWER = 1000, 300
ROOM = CONTEXT - ANSWER


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with a_house() as made:
        made.echo("echo", context=CONTEXT)
        tiny_gguf.write(made.home / "chat.gguf", context=512, chat_template=tiny_gguf.CHAT_TEMPLATE)
        made.ok("models", "add", "chat", made.home / "chat.gguf")
        yield made


def ask(home: House, *arguments: object, stdin: str | None = None) -> Outcome:
    more = ("-m", "echo", "--max-tokens", ANSWER, "--json", "--no-stream")
    return home.ok("ask", *arguments, *more, stdin=stdin)


def notices(outcome: Outcome) -> str:
    return "\n".join(json.loads(line)["notice"] for line in outcome.err.splitlines())


@pytest.mark.parametrize(("part", "where"), [("head", "beginning"), ("middle", "middle"), ("tail", "end")])
def test_overflow_cuts_the_named_part_and_keeps_as_much_as_fits(home: House, part: str, where: str) -> None:
    outcome = ask(home, "--overflow", part, "-s", "be brief", stdin=LINES)
    used = outcome.last["usage"]["prompt_tokens"]
    left = used - len("be brief")
    assert ROOM - 10 <= used <= ROOM
    gone = len(LINES) - left
    said = notices(outcome)
    assert f"the {where} of stdin is left out: " in said
    assert f"of {len(LINES)} bytes, {gone} of the prompt's {len(LINES) + 8} tokens" in said
    text = outcome.last["text"]  # echo repeats it up to max_tokens
    assert text == (LINES[-left:] if part == "head" else LINES)[:ANSWER]


def test_overflow_cuts_stdin_and_keeps_the_question(home: House, tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_text(LINES)
    piped = ask(home, "Which is the last?", "--overflow", "head", stdin=LINES)
    assert piped.last["text"].startswith("Which is the last?\n\n")
    named = ask(home, "Which is the last?", "--overflow", "head", "-f", file)
    assert named.last["text"].startswith(f"Which is the last?\n\n{file}:\n")
    assert f"the beginning of the file {file} is left out" in notices(named)
    placed = ask(home, "Of this log:\n{stdin}\nwhich line is the last?", "--overflow", "tail", stdin=LINES)
    assert placed.last["text"].startswith("Of this log:\nline 000 of")
    template = tmp_path / "t.yaml"
    template.write_text("prompt: 'Sum up: {text}'\nparams: [text]\noverflow: tail\n")
    filled = ask(home, "-t", template, "-p", f"text={LINES}")
    assert filled.last["text"].startswith("Sum up: line 000")
    assert "the end of the parameter text is left out" in notices(filled)


def test_nothing_is_cut_without_the_option_or_when_the_text_fits(home: House) -> None:
    more = ("-m", "echo", "--max-tokens", ANSWER)
    for given in ((), ("--overflow", "error")):
        refused = home.run("ask", *given, *more, stdin=LINES)
        assert (refused.status, refused.out) == (5, "")
        assert f"{len(LINES)} tokens" in refused.err
        assert f"context is {CONTEXT}" in refused.err
    fits = ask(home, "--overflow", "tail", stdin=LINES[:ROOM])
    assert fits.last["usage"]["prompt_tokens"] == ROOM
    assert "left out" not in notices(fits)


def test_a_text_that_cannot_be_cut_enough_is_refused_with_the_lengths(home: House) -> None:
    refused = home.run("ask", "why?", "-m", "echo", "--overflow", "tail", "-s", LINES)
    assert (refused.status, refused.out) == (5, "")
    assert f"{len(LINES) + 4} tokens" in refused.err
    assert "room for 500 (max_tokens is 2048)" in refused.err
    other = home.run("ask", "why?", "-m", "echo", "--overflow", "front")
    assert other.status == 5
    assert "one of error, head, middle, tail" in other.err


def test_overflow_is_part_of_the_cache_key_and_a_hit_repeats_the_notice(home: House) -> None:
    first, again = (ask(home, "--overflow", "tail", "--temperature", "0", stdin=LINES + "!") for _ in range(2))
    other = ask(home, "--overflow", "head", "--temperature", "0", stdin=LINES + "!")
    assert first.last["cache"]["hit"] is None
    assert again.last["cache"]["hit"] == "memory"
    assert "is left out" in notices(first)
    assert "is left out" in notices(again)
    assert other.last["cache"]["hit"] is None
    assert len({each.last["cache"]["key"] for each in (first, again, other)}) == 2
    keys = {ask(home, "short", *given).last["cache"]["key"] for given in ((), ("--overflow", "error"))}
    assert len(keys) == 1


def test_later_turns_continue_from_the_text_as_cut(home: House) -> None:
    first = ask(home, "--overflow", "head", "--stop", "log", "--conversation", "long", stdin=LINES)
    sent = first.last["usage"]["prompt_tokens"]
    assert home.records("prompt", "conversation = 'long'")[0]["prompt"] == LINES
    second = ask(home, "and?", "--conversation", "long", "--no-cache")
    assert second.last["usage"]["prompt_tokens"] == sent + len(first.last["text"]) + len("and?")


@pytest.mark.parametrize("part", ["head", "middle", "tail"])
def test_a_real_tokenizer_fills_the_context_to_its_limit(home: House, part: str) -> None:
    outcome = home.ok(
        "ask", "-m", "chat", "--overflow", part, "--max-tokens", "8", "--json", "--no-stream", stdin=LINES
    )
    assert 512 - 8 - 12 <= outcome.last["usage"]["prompt_tokens"] <= 512 - 8


def test_cache_warm_chat_and_the_client_accept_overflow(home: House) -> None:
    row = {"prompt": LINES, "model": "echo", "overflow": "tail", "max-tokens": ANSWER}
    (warmed,) = home.ok("cache", "warm", "-", "--json", stdin=json.dumps(row) + "\n").lines
    assert warmed["error"] is None
    assert ask(home, LINES, "--overflow", "tail").last["cache"]["hit"]
    chat = home.ok("chat", "-m", "echo", "--overflow", "tail", "--max-tokens", "5", stdin="x " * 800 + "\n")
    assert "the end of the prompt is left out" in chat.err
    script = (
        "from llmctl import Client\n"
        "with Client() as c: print(c.ask('a b ' * 500, model='echo', overflow='middle', max_tokens=2).usage.prompt_tokens)"
    )
    assert 990 <= int(home.python(script).end().out) <= 998


# ---- endpoints ------------------------------------------------------------------------------------------------------


def counting(context: int, words: str) -> Behaviour:
    """A token for four letters, ten for each message; says that it has read "fine", and how many tokens that were."""

    async def behave(exchange: Exchange) -> None:
        body = exchange.asked.body
        tokens = sum(len(message["content"]) // 4 + 10 for message in body["messages"])
        if tokens + body["max_tokens"] > context:
            total = tokens + body["max_tokens"]
            await status(400, words.format(context=context, total=total, tokens=tokens))(exchange)
        else:
            await answer("fine", usage={"prompt_tokens": tokens, "completion_tokens": 1})(exchange)

    return behave


VLLM = "This model's maximum context length is {context} tokens. However, you requested {total} ({tokens} in the messages)."
LLAMA_SERVER = "request ({tokens} tokens) exceeds the available context size ({context} tokens), try increasing it"


@pytest.mark.parametrize("words", [VLLM, LLAMA_SERVER])
def test_an_endpoint_that_reports_lengths_is_sent_what_fits(home: House, words: str) -> None:
    with server(usual=counting(400, words)) as endpoint:
        home.ok("models", "add", "far", endpoint.url, "--force")
        more = ("-m", "far", "--max-tokens", "100", "--json", "--no-stream", "--no-cache")
        outcome = home.ok("ask", "Why?", "-s", "brief", "--overflow", "head", *more, stdin=LINES)
        sent = endpoint.asked[-1].body["messages"]
        assert sent[0] == {"role": "system", "content": "brief"}
        assert sent[1]["content"].startswith("Why?\n\n")
        assert sent[1]["content"].endswith(LINES[-900:])
        assert 270 <= outcome.last["usage"]["prompt_tokens"] <= 300
        assert len(endpoint.asked) <= 4
        gone = len("Why?\n\n" + LINES) - len(sent[1]["content"])
        assert f"the beginning of stdin is left out: {gone} of {len(LINES)} bytes" in notices(outcome)
        fits = home.ok("ask", "Why?", "--overflow", "head", *more)
        assert notices(fits) == ""
        refused = home.run("ask", "Why?", "-s", LINES, "--overflow", "head", *more)
        assert (refused.status, refused.out) == (5, "")
        assert "nothing more can be cut from the last question" in refused.err


def test_an_endpoint_that_reports_no_lengths_is_an_error_that_says_so(home: House) -> None:
    with server(usual=counting(400, "context_length_exceeded: the prompt is too long")) as endpoint:
        home.ok("models", "add", "mute", endpoint.url, "--force")
        refused = home.run("ask", "-m", "mute", "--overflow", "tail", stdin=LINES)
        assert (refused.status, refused.out) == (5, "")
        assert (
            "--overflow needs the context length and the prompt length, but the endpoint reports neither" in refused.err
        )
        assert len(endpoint.asked) == 1
