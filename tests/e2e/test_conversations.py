"""What a conversation sends: earlier turns unchanged, and the system prompt that applies to each."""

import itertools
import json
import signal
from collections.abc import Iterator

import pytest

from tests import tiny_gguf
from tests.e2e.house import House, until
from tests.e2e.house import house as a_house
from tests.faulty_server import Asked, Exchange, Server, answer, server

NAMES = itertools.count(1)
STRICT = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('must be at the beginning') }}{% endif %}["
    "{{ m.role }}:{{ m.content }}]{% endfor %}"
)


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with a_house() as made:
        yield made


@pytest.fixture
def endpoint() -> Iterator[Server]:
    with server() as made:
        made.usual = answer("re")
        yield made


@pytest.fixture
def model(home: House, endpoint: Server) -> str:
    """A model of this test's endpoint."""
    name = f"seen{next(NAMES)}"
    home.ok("models", "add", name, endpoint.url)
    return name


def said(asked: Asked) -> list[str]:
    """The messages that the endpoint got: the text of user messages, `role:text` of others."""
    return [
        each["content"] if each["role"] == "user" else f"{each['role']}:{each['content']}"
        for each in asked.body["messages"]
    ]


def test_the_system_prompt_is_kept_for_later_turns_by_continue_name_and_client(
    home: House, endpoint: Server, model: str
) -> None:
    expected = ["system:SYS", "one", "assistant:re", "two", "assistant:re", "three", "assistant:re", "four"]
    for how, user in ((("-c",), "c"), (("--conversation", "trip"), "named")):
        begin = () if how == ("-c",) else how
        home.ok("ask", "one", "-m", model, "-s", "SYS", *begin, "--user", user)
        for prompt in ("two", "three", "four"):
            home.ok("ask", prompt, *how, "--user", user)
        assert said(endpoint.asked[-1]) == expected
    script = (
        "from llmctl import Client\nwith Client(user='py') as c:\n"
        f" c.ask('one', model={model!r}, system='SYS', conversation='trip')\n"
        " for p in ('two', 'three', 'four'): print(c.ask(p, continue_=True).text)\n"
    )
    assert home.python(script).end().out == "re\n" * 3
    assert said(endpoint.asked[-1]) == expected
    rows = home.records("system", where="user IN ('c', 'named', 'py')")
    assert [row["system"] for row in rows] == ["SYS"] * 12, "each row has its own system prompt"


def test_a_conversation_keeps_its_model_even_if_another_is_the_default(
    home: House, endpoint: Server, model: str
) -> None:
    home.ok("models", "add", "usual", "echo", "--force")
    options = {"LLMCTL_DEFAULTS__MODEL": "usual"}
    assert home.ok("ask", "one", "--conversation", "kept", **options).out == "one\n"
    assert home.ok("ask", "two", "--conversation", "kept", "-m", model, **options).out == "re\n"
    assert home.ok("ask", "three", "--conversation", "kept", **options).out == "re\n"
    assert said(endpoint.asked[-1]) == ["one", "assistant:one", "two", "assistant:re", "three"]


def test_conversations_with_different_system_prompts_share_no_cached_answer(
    home: House, endpoint: Server, model: str
) -> None:
    for system in ("X", "Y"):
        home.ok("ask", "first", "-m", model, "-s", system, "--conversation", f"only-{system}")
        for prompt in ("second", "third"):
            last = home.ok("ask", prompt, "--conversation", f"only-{system}", "--json").last
            assert last["cache"]["hit"] is None, (system, prompt)
    assert [said(asked)[0] for asked in endpoint.asked] == ["system:X"] * 3 + ["system:Y"] * 3


def test_a_new_system_prompt_applies_from_its_turn_and_an_empty_one_removes_all(
    home: House, endpoint: Server, model: str
) -> None:
    turns = (("one", "A"), ("two", None), ("three", "B"), ("four", None), ("five", ""), ("six", "C"), ("seven", None))
    for prompt, system in turns:
        given = () if system is None else ("-s", system)
        home.ok("ask", prompt, "-m", model, "--conversation", "turns", *given)
    four, five, _, seven = map(said, endpoint.asked[-4:])
    bare = [word for number in ("one", "two", "three", "four") for word in (number, "assistant:re")]
    assert four == ["system:A", *bare[:4], "system:B", *bare[4:7]], "A stays where it was sent"
    assert five == [*bare, "five"]
    assert seven == [*bare, "five", "assistant:re", "system:C", "six", "assistant:re", "seven"]
    assert four[: len(said(endpoint.asked[2]))] == said(endpoint.asked[2]), "what was sent is sent again"


def test_filled_in_parameters_stdin_and_files_stay_in_the_turn_as_sent(
    home: House, endpoint: Server, model: str
) -> None:
    (home.home / "tutor.yaml").write_text("system: 'Teach {topic} to {who}.'\nparams: {topic: null, who: a child}\n")
    (home.home / "notes.txt").write_text("of {topic} and {who}\n")
    home.ok(
        "ask",
        "one {topic}",
        "-t",
        "./tutor.yaml",
        "-p",
        "topic=tea",
        "-m",
        model,
        "-f",
        "notes.txt",
        stdin="in {topic}\n",
    )
    first = said(endpoint.asked[-1])
    assert first == ["system:Teach tea to a child.", "one tea\n\nnotes.txt:\nof {topic} and {who}\n\nin {topic}"]
    (home.home / "notes.txt").unlink()
    home.ok("ask", "two {topic}", "-c", "-p", "topic=tin", "-p", "who=you")
    home.ok("ask", "three", "-c")
    assert said(endpoint.asked[-1]) == [*first, "assistant:re", "two tin", "assistant:re", "three"]


def test_a_template_refusing_a_later_system_prompt_gets_it_within_the_question(house: House) -> None:
    house.variables["LLMCTL_ENGINE_STEP_MS"] = "8 2"  # what is found again must not hang on what other programs do
    path = house.home / "strict.gguf"
    tiny_gguf.write(path, seed=7, context=512, chat_template=STRICT)
    house.ok("models", "add", "strict", path)
    options = ("--max-tokens", "4", "--json", "--no-stream", "--temperature", "0")
    first = house.ok("ask", "one", "-s", "SYS", *options).last
    outcome = house.ok("ask", "two", "-c", "-s", "NEW", *options)
    assert "accepts a system prompt only at the beginning" in outcome.err
    assert outcome.last["usage"]["cached_tokens"] >= first["usage"]["prompt_tokens"] - 1, "what was sent is found again"
    after = house.ok("ask", "three", "-c", *options)
    assert "only at the beginning" not in after.err, "it is said where it is given"
    by_hand = house.ok("ask", "NEW\n\ntwo", "-s", "SYS", "--conversation", "by-hand", *options)
    house.ok("ask", "one", "-s", "SYS", "--conversation", "as-text", *options)
    same = house.ok("ask", "NEW\n\ntwo", "--conversation", "as-text", "--no-cache", *options).last
    assert (same["text"], same["usage"]["prompt_tokens"]) == (
        outcome.last["text"], outcome.last["usage"]["prompt_tokens"],
    ), by_hand  # fmt: skip


async def strict(exchange: Exchange) -> None:
    """A server whose template refuses a system message behind turns."""
    if any(each["role"] == "system" for each in exchange.asked.body["messages"][1:]):
        await exchange.head(400, "application/json")
        await exchange.write(
            json.dumps({"error": {"message": "System message must be at the beginning.", "code": 400}})
        )
    else:
        await answer("re")(exchange)


def test_an_endpoint_refusing_a_later_system_prompt_gets_it_within_the_question(
    home: House, endpoint: Server, model: str
) -> None:
    endpoint.usual = strict
    home.ok("ask", "one", "-m", model, "-s", "A", "--conversation", "strict")
    home.ok("ask", "two", "-s", "B", "--conversation", "strict")
    assert said(endpoint.asked[-1]) == ["system:A", "one", "assistant:re", "B\n\ntwo"]
    home.ok("ask", "three", "--conversation", "strict")
    assert len(endpoint.asked) == 4, "it is refused once"
    assert said(endpoint.asked[-1]) == ["system:A", "one", "assistant:re", "B\n\ntwo", "assistant:re", "three"]


def test_timed_out_cancelled_or_incomplete_answers_add_no_turn(home: House, model: str, endpoint: Server) -> None:
    home.ok("models", "add", "slow", "echo", "--set", "token_ms=20")
    home.ok("ask", "kept", "-m", model, "-s", "A", "--conversation", "early")
    assert home.run("ask", "x" * 900, "-m", "slow", "-s", "B", "--conversation", "early", "--timeout", "1s").status == 7
    command = home.spawn("ask", "y" * 900, "-m", "slow", "-s", "B", "--conversation", "early")
    command.first_byte()
    command.send_signal(signal.SIGINT)
    assert command.end().status == 130
    assert home.run("ask", "no code", "-x", "-m", "slow", "--conversation", "early").status == 8
    until(lambda: not home.running())
    home.ok("ask", "last", "-m", model, "--conversation", "early")
    assert said(endpoint.asked[-1]) == ["system:A", "kept", "assistant:re", "last"]


def test_conversation_names_are_per_user_and_validated(home: House, model: str, endpoint: Server) -> None:
    for user in ("ana", "bob"):
        home.ok("ask", f"of {user}", "-m", model, "-s", user, "--conversation", "diary", "--user", user)
        home.ok("ask", "and", "--conversation", "diary", "--user", user)
        assert said(endpoint.asked[-1]) == [f"system:{user}", f"of {user}", "assistant:re", "and"]
    for name in ("", "a b", "../up", "naïve", "x\n", "-x", "a" * 65):
        outcome = home.run("ask", "hi", "-m", model, f"--conversation={name}")
        assert outcome.status == 5, name
        assert "A name begins with a letter or digit" in outcome.err


def test_chat_commands_change_the_system_prompt_undo_retry_and_save(home: House, model: str, endpoint: Server) -> None:
    lines = [
        "one",
        "two",
        "/system B",
        "three",
        "/undo",
        "/system",
        "four",
        "/retry",
        "/system C",
        "/retry",
        "/save kept",
    ]
    home.ok("chat", "-m", model, "-s", "A", "--conversation", "chat", stdin="\n".join(lines))
    two, three, four, again, changed = map(said, endpoint.asked[1:])
    turns = ["one", "assistant:re", "two", "assistant:re"]
    assert two == ["system:A", *turns[:3]]
    assert three == ["system:A", *turns, "system:B", "three"]
    assert four == again == [*turns, "four"], "no system prompt, and the third turn is gone"
    assert changed == ["system:A", *turns, "system:C", "four"], "nothing took A off any more"
    assert "system: C" in home.ok("templates", "show", "kept").out


def test_chat_on_an_existing_conversation_retries_its_last_turn_as_it_was_sent(
    home: House, model: str, endpoint: Server
) -> None:
    (home.home / "wrap.yaml").write_text(
        "prompt: 'About {topic}: {prompt}'\nsystem: Of {topic}.\nparams: {topic: tea}\n"
    )
    home.ok("ask", "one", "-m", model, "-s", "{x}", "--user", "cho")
    home.ok("ask", "two {topic}", "-c", "--user", "cho")
    home.ok("chat", "-c", "-t", "./wrap.yaml", "--user", "cho", stdin="/retry\nthree\n/retry\n/save mine\n")
    again, three, third = map(said, endpoint.asked[2:])
    assert again == ["system:{x}", "one", "assistant:re", "two {topic}"]
    assert three == third == [*again, "assistant:re", "system:Of tea.", "About tea: three"]
    shown = home.ok("templates", "show", "mine").out
    assert "system: Of {topic}." in shown
    assert "topic: tea" in shown
    home.ok("chat", "-c", "--user", "cho", stdin="/save held\n/undo\n/undo\n/undo\n")
    assert "system: Of tea." in home.ok("templates", "show", "held").out
    assert home.run("chat", "-c", "--user", "cho", stdin="/retry\n").status == 2


def test_concurrent_turns_by_continue_and_by_name_are_answered_in_one_order(house: House) -> None:
    house.echo()
    house.ok("ask", "first", "--conversation", "many")
    line = "for i in 1 2 3 4 5 6; do llmctl ask c$i -c & llmctl ask d$i --conversation many & done; wait"
    assert house.shell(line).status == 0
    so_far, rows = 0, house.records("prompt, prompt_tokens", where="state = 'done'")
    assert len(rows) == 13
    for row in rows:
        assert row["prompt_tokens"] == so_far + len(row["prompt"]), "each saw those before it, and no other"
        so_far += 2 * len(row["prompt"])
