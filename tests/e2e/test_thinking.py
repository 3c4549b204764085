"""Templates as models have them: system prompts that one does not take, words about thinking, thoughts told apart, templates of
the user's own, and templates that would run for ever.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import faulty_server, tiny_gguf, tiny_llama
from tests.e2e.house import House, until
from tests.e2e.house import house as a_house
from tests.e2e.test_bad_input import refused
from tests.engine.traits import TRAITS
from tests.faulty_server import Server, answer

ONE = ("--no-cache", "--max-tokens", "8", "--temperature", "0", "--json", "--no-stream")
SWITCH = TRAITS["a switch, and the tag in the prompt"]
FILES = {
    "gemma2": TRAITS["takes no system message"],
    "switch": SWITCH,
    "plain": TRAITS["plain"],
    "efforts": TRAITS["efforts of its own"],
    "tools": TRAITS["wants a list of tools"],
    "options": "{% if extra is defined %}{{ extra }}{% endif %}" + TRAITS["plain"],
    "endless": "{% if 'loop' in messages[0].content %}{% for a in range(99999) %}{% for b in range(99999) %}{% set x = a %}"
    "{% endfor %}{% endfor %}{% endif %}" + TRAITS["plain"],
    "huge": "{% if 'grow' in messages[0].content %}{{ 'x'.ljust(10 ** 11) }}{% endif %}" + TRAITS["plain"],
}  # fmt: skip


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    """A model without a template of its own, added once with each of our templates."""
    with a_house() as made:
        tiny_gguf.write(made.home / "m.gguf", context=512)
        for name, source in FILES.items():
            (made.home / f"{name}.jinja").write_text(source)
            made.ok("models", "add", name, made.home / "m.gguf", "--set", f"template={name}.jinja", "--set", "slots=2")
        made.ok("models", "add", "base", made.home / "m.gguf")
        made.ok("models", "add", "echo", "echo")
        yield made


def asked(home: House, *arguments: object) -> dict[str, Any]:
    return home.ok("ask", *arguments, *ONE).last


def tokens(home: House, *arguments: object) -> int:
    count: int = asked(home, *arguments)["usage"]["prompt_tokens"]
    return count


# ---- system messages, tools -----------------------------------------------------------------------------------------


def test_a_system_prompt_the_template_refuses_begins_the_first_message(home: House) -> None:
    first = home.ok("ask", "why?", "-m", "gemma2", "-s", "Be brief.", *ONE)
    assert "does not accept a system message" in first.err
    assert first.last["usage"]["prompt_tokens"] == tokens(home, "Be brief.\n\nwhy?", "-m", "gemma2")
    assert "system message" not in home.ok("ask", "how?", "-m", "gemma2", "-s", "Be brief.", *ONE).err, "once"


def test_a_template_that_needs_tools_gets_an_empty_list(home: House) -> None:
    assert tokens(home, "why?", "-m", "tools") == tokens(home, "why?", "-m", "plain")


# ---- thinking -------------------------------------------------------------------------------------------------------


def test_think_sets_the_template_s_option_and_reasoning_is_separated(home: House) -> None:
    on, off = (asked(home, "why?", "-m", "switch", "--think", word) for word in ("on", "off"))
    plain = asked(home, "why?", "-m", "switch")
    assert (on["text"], bool(on["reasoning"])) == ("", True)
    assert (bool(off["text"]), off["reasoning"]) == (True, None)
    assert plain["reasoning"] == on["reasoning"], "this template thinks by itself"
    low, high = (tokens(home, "why?", "-m", "efforts", "--think", word) for word in ("low", "high"))
    assert high == low + 1
    hidden = home.ok("ask", "why?", "-m", "switch", "--think", "on", "--reasoning", "show", *ONE[:-2])
    assert hidden.err.strip().startswith(on["reasoning"][:3])


@pytest.mark.parametrize(
    ("model", "word", "words"),
    [
        ("switch", "low", "it supports on, off"),
        ("efforts", "medium", "it supports on, off, low, high"),
        ("plain", "on", "has no thinking option"),
        ("base", "off", "no chat template"),
        ("echo", "on", "no chat template"),
        ("switch", "much", "one of on, off, low, medium, high"),
    ],
)
def test_a_think_value_that_the_model_does_not_support_is_refused(
    home: House, model: str, word: str, words: str
) -> None:
    refused(home.run("ask", "why?", "-m", model, "--think", word), 5, words, repr(word))


def test_think_with_a_raw_prompt_is_refused(home: House) -> None:
    refused(home.run("ask", "why?", "-m", "switch", "--raw", "--think", "on"), 5, "--raw")


def test_the_think_setting_of_the_model_is_the_default_of_requests(home: House) -> None:
    home.ok("models", "add", "quiet", home.home / "m.gguf", "--set", "template=switch.jinja", "--set", "think=off")
    assert asked(home, "why?", "-m", "quiet")["text"]
    assert not asked(home, "why?", "-m", "quiet", "--think", "on")["text"]
    assert asked(home, "why?", "-m", "quiet", "--raw")["text"], "a raw prompt has no template to set"
    wrong = home.run("models", "add", "never", home.home / "m.gguf", "--set", "think=much")
    refused(wrong, 5, "think", "on, off, low, medium, high")


def test_templates_warm_rows_conversations_and_the_client_accept_think(home: House, tmp_path: Path) -> None:
    for word in ("on", "off"):
        (tmp_path / f"{word}.yaml").write_text(f"prompt: why?\nmodel: switch\nthink: {word}\n")  # YAML reads a boolean
        text = asked(home, "-t", tmp_path / f"{word}.yaml")["text"]
        assert bool(text) == (word == "off")
    row = {"prompt": "warm?", "model": "switch", "think": "off", "max-tokens": 8, "temperature": 0}
    home.ok("cache", "warm", "-", stdin=json.dumps(row) + "\n")
    again = ("warm?", "-m", "switch", "--max-tokens", "8", "--temperature", "0", "--json", "--no-stream")
    found = [home.ok("ask", *again, *think).last for think in (("--think", "off"), ("--think", "on"), ())]
    assert [bool(one["cache"]["hit"]) for one in found] == [True, False, False], "it is part of the key"
    talk = ("chat", "-m", "switch", "--max-tokens", "8", "--temperature", "0", "--think", "off")
    said = home.ok(*talk, stdin="why?\n/think on\nwhy?\n")
    assert len(said.out.strip().splitlines()) == 1, "one answer, and one that is nothing but a thought"
    program = (
        "from llmctl import Client\nwith Client() as c:\n"
        " for word in ('on', 'off', True, False):\n"
        "  print(bool(c.ask('why?', model='switch', think=word, max_tokens=8, temperature=0, no_cache=True).text))"
    )
    assert home.python(program).end().out.split() == ["False", "True", "False", "True"]


def test_think_works_for_a_transformers_folder_too(home: House) -> None:
    folder = tiny_llama.write(home.home / "folder", template=SWITCH)
    home.ok("models", "add", "folder", folder)
    on, off = (asked(home, "why?", "-m", "folder", "--think", word) for word in ("on", "off"))
    assert (on["text"], off["reasoning"]) == ("", None)
    refused(home.run("ask", "why?", "-m", "folder", "--think", "high"), 5, "it supports on, off")
    home.ok("models", "add", "other", folder, "--set", f"template={home.home}/plain.jinja")
    refused(home.run("ask", "why?", "-m", "other", "--think", "on"), 5, "has no thinking option")


# ---- templates of the user's own ------------------------------------------------------------------------------------


def test_a_changed_custom_template_is_read_again(home: House) -> None:
    file = home.home / "own.jinja"
    file.write_text("{{ messages[0].content }}")
    home.ok("models", "add", "own", home.home / "m.gguf", "--set", f"template={file}")
    ask = ("ask", "why?", "-m", "own", "--max-tokens", "8", "--temperature", "0", "--json", "--no-stream")
    first, again = home.ok(*ask).last, home.ok(*ask).last
    assert again["cache"]["hit"]
    file.write_text("{{ messages[0].content }}{{ messages[0].content }}")
    other = home.ok(*ask).last
    assert other["cache"]["hit"] is None, "another template, another answer"
    assert other["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]
    file.unlink()
    refused(home.run(*ask), 4, file)


def test_adding_a_model_refuses_an_invalid_or_unsupported_template(home: House, tmp_path: Path) -> None:
    def add(what: object, target: object = home.home / "m.gguf") -> Any:
        return home.run("models", "add", "never", target, "--set", f"template={what}")

    (tmp_path / "empty.jinja").write_text(" \n")
    (tmp_path / "odd.jinja").write_bytes(b"\xff\xfe\x00")
    refused(add("nowhere.jinja"), 4, home.home / "nowhere.jinja")
    refused(add(tmp_path), 4, tmp_path)
    refused(add(tmp_path / "empty.jinja"), 4, "is empty")
    refused(add(tmp_path / "odd.jinja"), 4, "UTF-8")
    refused(add(home.home / "plain.jinja", "echo"), 5, "supports no `template`")
    refused(add(home.home / "plain.jinja", "http://127.0.0.1:9/v1"), 5, "has no setting template")


def test_template_variables_can_be_set_as_settings(home: House) -> None:
    options = ("--set", "template=options.jinja", "--set", 'template_options={"extra": "eeee"}')
    home.ok("models", "add", "more", home.home / "m.gguf", *options)
    assert tokens(home, "why?", "-m", "more") > tokens(home, "why?", "-m", "options")
    refused(home.run("models", "add", "never", home.home / "m.gguf", "--set", "template_options=x"), 5, "JSON object")


@pytest.mark.parametrize(("model", "word", "why"), [("endless", "loop", "was stopped"), ("huge", "grow", "MiB")])
def test_a_template_that_never_ends_or_grows_too_large_fails_only_its_request(
    home: House, model: str, word: str, why: str
) -> None:
    home.run(
        "models", "unload", model
    )  # three endless renderings in a row disable a template, and other tests have some
    before = home.ok("ps", "--json").lines
    refused(home.run("ask", word, "-m", model, *ONE), 5, why, "--raw")
    assert asked(home, "why?", "-m", model)["text"]
    pids = {line["name"]: line["pid"] for line in home.ok("ps", "--json").lines}
    assert all(pids.get(line["name"], line["pid"]) == line["pid"] for line in before), "no engine was lost"


ALWAYS = {
    "triple": "".join(f"{{% for {name} in range(9999) %}}" for name in "abc") + "{% set x = a %}" + "{% endfor %}" * 3,
    "power": "{{ 10**(10**9) }}",
    "deep": "{{ " + "[" * 5000 + "]" * 5000 + " }}",
}  # fmt: skip
"""Templates that are broken for every message."""


@pytest.mark.parametrize(
    ("name", "why"),
    [("triple", "was stopped"), ("power", "was stopped"), ("deep", "recursion")],
)
def test_a_broken_template_costs_the_template_and_not_raw_prompts(home: House, name: str, why: str) -> None:
    path = home.home / f"{name}.gguf"
    tiny_gguf.write(path, context=512, chat_template=ALWAYS[name] + TRAITS["plain"])
    home.ok("models", "add", name, path)
    refused(home.run("ask", "why?", "-m", name, *ONE), 5, "chat template is broken", why, "--raw")
    assert asked(home, "why?", "-m", name, "--raw")["text"]


def test_others_are_answered_while_a_template_loops_and_timeouts_hold(home: House) -> None:
    """The process that renders stands still meanwhile, so that its limit comes when the others have ended."""
    asked(home, "why?", "-m", "endless")
    (renders,) = psutil.Process(home.ps("endless")["pid"]).children()
    renders.suspend()
    try:
        loops = home.spawn("ask", "loop", "-m", "endless", *ONE)
        until(lambda: home.status()["requests_in_flight"] == 1, what="its template is being rendered")
        for way in ((), ("--raw",)):
            assert home.ok("ask", "how?", "-m", "endless", "--timeout", "60s", *way, *ONE).last["text"]
        refused(home.run("ask", "loop", "-m", "endless", "--timeout", "0.2s", "--no-cache"), 7, "within 0.2 s")
        assert loops.poll() is None
    finally:
        renders.resume()
    refused(loops.end(), 5, "was stopped", "--raw")


# ---- endpoints ------------------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Iterator[Server]:
    with faulty_server.server() as made:
        yield made


def test_think_is_sent_to_an_endpoint_as_reasoning_effort(home: House, endpoint: Server) -> None:
    home.ok("models", "add", "far", endpoint.url, "--set", 'template_options={"extra": 1}')
    for word in ("on", "off", "low", "medium", "high"):
        home.ok("ask", "why?", "-m", "far", "--think", word, "--no-cache")
    home.ok("ask", "why?", "-m", "far", "--no-cache")
    bodies = [one.body for one in endpoint.asked]
    assert [body.get("reasoning_effort") for body in bodies] == ["medium", "none", "low", "medium", "high", None]
    assert all(body["chat_template_kwargs"] == {"extra": 1} for body in bodies)
    refused(home.run("ask", "why?", "-m", "far", "--think", "low", "--raw"), 5, "raw")


def test_a_closing_tag_without_an_opening_one_ends_the_reasoning(home: House, endpoint: Server) -> None:
    """The first answer is already streamed; later ones are held until it is known whether they are reasoning."""
    home.ok("models", "add", "lone", endpoint.url)
    endpoint.script = [answer("6 times ", "7</thi", "nk>\n\n42") for _ in range(3)] + [answer("no ", "thought")]
    first = home.ok("ask", "why?", "-m", "lone", "--json")
    assert (first.last["reasoning"], first.last["text"]) == ("6 times 7", "42")
    assert "omits the opening tag" in first.err
    for _ in range(2):
        later = home.ok("ask", "how?", "-m", "lone", "--json", "--no-cache")
        assert (later.last["reasoning"], later.last["text"], later.pieces) == ("6 times 7", "42", "42")
        assert not later.err
    assert home.ok("ask", "what?", "-m", "lone").out == "no thought\n"


def test_a_closing_tag_quoted_in_the_answer_is_text(home: House, endpoint: Server) -> None:
    home.ok("models", "add", "talks", endpoint.url)
    said = "A thought ends with `</think>`."
    endpoint.script = [answer(said[:25], said[25:]), answer("</think> comes last", thought=["hm"])]
    assert home.ok("ask", "why?", "-m", "talks", "--json").last["text"] == said
    other = home.ok("ask", "how?", "-m", "talks", "--json").last
    assert (other["reasoning"], other["text"]) == ("hm", "</think> comes last")


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        ("<seed:think>6x7</seed:think>42", "6x7"),
        ("<|channel|>analysis<|message|>6x7<|end|><|start|>assistant<|channel|>final<|message|>42", "6x7"),
        ("<|channel>thought\n6x7\n<channel|>42", "6x7"),
        ("[THINK]6x7[/THINK]42", "6x7"),
    ],
)
def test_reasoning_tags_in_the_text_of_an_endpoint_are_separated(
    home: House, endpoint: Server, text: str, thought: str
) -> None:
    name = f"tags{len(text)}"
    home.ok("models", "add", name, endpoint.url, "--force")
    endpoint.script = [answer(*text)]
    line = home.ok("ask", "why?", "-m", name, "--json").last
    assert (line["reasoning"], line["text"]) == (thought, "42")
