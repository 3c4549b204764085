"""A whole chat from a program, `Client().ask(messages=[...])`: what the model gets, what is recorded, what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests import tiny_gguf
from tests.e2e.house import House
from tests.e2e.house import house as a_house
from tests.faulty_server import Server, answer, server, status

TOOLS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PROGRAM = """
import json
from llmctl import Client, LlmctlError
for call in json.loads({calls!r}):
    notices = []
    with Client(user="ana", on_notice=notices.append) as client:
        try:
            answers = client.samples(**call) if "n" in call else [client.ask(**call)]
        except LlmctlError as error:
            said = dict(status=error.status, code=error.code, message=error.message, hint=error.hint)
        else:
            said = dict(
                text=answers[0].text, texts=[each.text for each in answers], hit=answers[0].cache.hit,
                tokens=answers[0].usage.prompt_tokens, conversation=answers[0].conversation,
            )
    print(json.dumps(said | dict(notices=notices)))
"""


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with a_house() as made:
        made.echo().echo("short", context=400)
        for name, template in (("chat", tiny_gguf.CHAT_TEMPLATE), ("tools", TOOLS), ("base", None)):
            tiny_gguf.write(made.home / f"{name}.gguf", seed=7, context=512, chat_template=template)
            made.ok("models", "add", name, made.home / f"{name}.gguf")
        yield made


@pytest.fixture
def endpoint(home: House) -> Iterator[Server]:
    with server() as made:
        made.usual = answer("re")
        home.ok("models", "add", "remote", made.url, "--force")
        yield made


def asked(home: House, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    """What a program is told of each call of `Client.ask`, or of `Client.samples` where there is an `n`."""
    outcome = home.python(PROGRAM.format(calls=json.dumps(calls))).end()
    assert outcome.status == 0, outcome
    return outcome.lines


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


CALL = {"id": "call00001", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
CALLED = [
    user("2 and 3?"),
    assistant("", tool_calls=[CALL]),
    {"role": "tool", "content": "5", "tool_call_id": "call00001"},
]
ONE = {"temperature": 0, "max_tokens": 8, "no_cache": True}


# ---- answers and records --------------------------------------------------------------------------------------------


def test_the_last_question_is_answered_and_the_whole_chat_is_in_the_history(home: House) -> None:
    chat = [system("Be brief."), user("one"), assistant("1", reasoning="hm"), user("two", name="bob")]
    said, several = asked(
        home,
        {"messages": chat, "model": "echo", "tag": "chat"},
        {"messages": chat, "model": "echo", "n": 2, "temperature": 1, "tag": "several"},
    )
    assert (said["text"], said["conversation"]) == ("two", None)
    assert several["texts"] == ["two", "two"]
    row = home.records("prompt, system, conversation, messages, state", "tags = '[\"chat\"]'")[0]
    assert (row["prompt"], row["system"], row["conversation"], row["state"]) == ("two", "Be brief.", None, "done")
    assert json.loads(row["messages"]) == chat, "nothing of it is lost"
    rows = home.records("sample, prompt, messages IS NULL AS bare", "tags = '[\"several\"]'")
    assert [tuple(row.values()) for row in rows] == [(0, "two", 0), (1, "two", 1)], "and it stands once"


def test_continue_ignores_chats_sent_as_messages(home: House) -> None:
    home.ok("ask", "mine", "-m", "echo", "--user", "ana", "--conversation", "own")
    asked(home, {"messages": [user("not this")], "model": "echo"})
    home.ok("ask", "and on", "-c", "--user", "ana", "-m", "echo")
    assert home.records("conversation", "prompt = 'and on'")[0]["conversation"] == "own"


def test_prompt_and_equivalent_messages_share_a_cached_answer(home: House) -> None:
    short = {"prompt": "share?\r\n", "system": "s", "model": "echo"}
    chat = {"messages": [system("s"), system(""), user("\ufeffshare?\r\n")], "model": "echo"}
    other = {"messages": [system("t"), user("share?\n")], "model": "echo"}
    assert [each["hit"] for each in asked(home, short, chat, other, other)] == [None, "memory", None, "memory"]


def test_messages_give_the_same_tokens_as_the_same_conversation(home: House) -> None:
    options = ("--temperature", "0", "--max-tokens", "8", "--no-cache", "--json", "--no-stream", "-m", "chat")
    home.ok("ask", "one", "-s", "SYS", "--conversation", "twin", *options)
    first = home.ok("ask", "two", "--conversation", "twin", *options).last
    turn = home.records("text", "prompt = 'one' AND conversation = 'twin'")[0]["text"]
    second = home.ok("ask", "three", "--conversation", "twin", *options).last
    chat = [system("SYS"), user("one"), assistant(turn), user("two"), assistant(first["text"]), user("three")]
    said, without = asked(
        home, {"messages": chat, "model": "chat", **ONE}, {"messages": chat[1:], "model": "chat", **ONE}
    )
    assert (said["text"], said["tokens"]) == (second["text"], second["usage"]["prompt_tokens"])
    assert without["tokens"] < said["tokens"], "the system prompt was part of it"


def test_overflow_cuts_only_the_last_question(home: House) -> None:
    words = " ".join(f"w{number:03}" for number in range(200))
    before = [system("Be brief."), user("first"), assistant("re")]
    call = {"model": "short", "max_tokens": 100, "overflow": "head", "no_cache": True}
    plain, tool, refused = asked(
        home,
        {"messages": [*before, user(words)], **call},
        {"messages": [*before, user(words), *CALLED[1:]], **call},
        {"messages": [*before, user(words)], **call, "overflow": "error"},
    )
    for said in (plain, tool):
        assert said["tokens"] <= 300
        assert "the beginning of the prompt is left out" in said["notices"][-1]
        assert said["text"] in words, "echo repeats the question as cut, up to max_tokens"
        assert not words.startswith(said["text"])
    assert (refused["status"], refused["code"]) == (5, "context_overflow")


# ---- tools ----------------------------------------------------------------------------------------------------------


def test_tool_calls_are_sent_only_to_a_template_that_renders_them(home: House) -> None:
    written, without, not_written, base = asked(
        home,
        {"messages": CALLED, "model": "tools", **ONE},
        {"messages": CALLED[:1], "model": "tools", **ONE},
        {"messages": CALLED, "model": "chat", **ONE},
        {"messages": CALLED, "model": "base", **ONE},
    )
    assert written["tokens"] > without["tokens"]
    for refused in (not_written, base):
        assert (refused["status"], refused["code"]) == (5, "invalid_request")
        assert "the chat contains tool calls" in refused["message"]
        assert "omit them" in refused["hint"]


@pytest.mark.parametrize(
    "given", [{"tools": [{"type": "function"}]}, {"tool_choice": "auto"}], ids=lambda given: next(iter(given))
)
def test_a_tools_option_is_refused_as_unsupported(home: House, given: dict[str, Any]) -> None:
    for call in ({"prompt": "hi"}, {"messages": [user("hi")]}):
        (said,) = asked(home, {**call, **given, "model": "echo"})
        assert (said["status"], said["code"]) == (5, "unsupported")
        assert next(iter(given)) in said["message"]


# ---- a remote model -------------------------------------------------------------------------------------------------


def test_an_endpoint_gets_exactly_the_messages_given(home: House, endpoint: Server) -> None:
    chat = [system("s"), user("one", name="bob"), assistant("1", reasoning="hm"), *CALLED, assistant("5"), user("two")]
    (said,) = asked(home, {"messages": chat, "model": "remote"})
    assert said["text"] == "re"
    expected = [{("reasoning_content" if key == "reasoning" else key): each[key] for key in each} for each in chat]
    assert endpoint.asked[-1].body["messages"] == expected


def test_an_endpoint_refusing_reasoning_gets_the_messages_without_it(home: House, endpoint: Server) -> None:
    endpoint.usual = None
    refusal = status(400, "Unrecognized key: reasoning_content")
    endpoint.script = [refusal, answer("re")]
    (said,) = asked(home, {"messages": [user("one"), assistant("1", reasoning="hm"), user("two")], "model": "remote"})
    assert said["text"] == "re"
    assert endpoint.asked[-1].body["messages"] == [user("one"), assistant("1"), user("two")]


# ---- invalid messages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"prompt": "hi", "messages": [user("hi")]}, "messages and prompt exclude each other"),
        ({"system": "s", "messages": [user("hi")]}, "messages and system exclude each other"),
        ({"conversation": "c", "messages": [user("hi")]}, "messages and conversation exclude each other"),
        ({"messages": []}, "messages is empty"),
        ({"messages": [system("s")]}, "messages has no user message"),
        ({"messages": [user("hi"), assistant("a")]}, "messages[1], the last one, has the role assistant"),
        ({"messages": [{"role": "human", "content": "hi"}]}, "messages[0].role is 'human'; it must be one of"),
        ({"messages": [user("hi"), assistant("a"), user(" ")]}, "messages[2], a user message, is empty"),
        ({"messages": CALLED[::2]}, "messages[1].tool_call_id is 'call00001'; no message before it calls a tool"),
        ({"messages": "hi"}, "messages is a str; it must be a list of messages"),
        ({"messages": [{"role": "user"}]}, "messages[0]: Object missing required field `content`"),
    ],
)
def test_invalid_messages_are_refused_with_their_place(home: House, call: dict[str, Any], words: str) -> None:
    (said,) = asked(home, {**call, "model": "echo"})
    assert (said["status"], said["code"]) == (2, "usage")
    assert words in said["message"]
    assert said["hint"]
