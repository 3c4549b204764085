"""From the text of a request to the messages that the model gets."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctld.call.call import Call, compose
from llmctld.call.chat import normal
from llmctld.call.prompt import compose_prompt, fill
from llmctld.history import History
from llmctld.pipeline.intake.preprocess import preprocess

from llmctl.errors import InvalidRequest, ModelUnavailable, NotFound
from llmctl.wire import File, Generate
from tests.hub.scene import Speaker, a_call, a_catalog, answer_of, in_loop

LIMIT = 1000


def prompt(values: dict[str, str] | None = None, **fields: Any) -> str | None:
    return compose_prompt(Generate(**fields), values or {}, LIMIT)


# ---- one text of many parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"prompt": "why?"}, "why?"),
        ({"prompt": "why?\n"}, "why?\n"),  # a PROMPT is unchanged
        ({"stdin": "text\n"}, "text"),
        ({"stdin": "text\n\n"}, "text\n"),
        ({"stdin": "text\r\n"}, "text"),
        ({"stdin": "text\n", "raw": True}, "text\n"),
        ({"prompt": "why?", "stdin": "text\n"}, "why?\n\ntext"),
        ({"prompt": "why?", "stdin": ""}, "why?"),
        ({"prompt": "", "stdin": "text"}, "text"),
        (
            {"prompt": "why?", "files": [File("a.txt", "one\n"), File("b.txt", "two")]},
            "why?\n\na.txt:\none\n\nb.txt:\ntwo",
        ),
        ({"prompt": "p", "files": [File("a", "f\n")], "stdin": "s\n", "raw": True}, "p\n\na:\nf\n\n\ns\n"),
        ({"prompt": "about {stdin}: why?", "stdin": "text\n"}, "about text: why?"),
        ({"prompt": "{stdin}{stdin}", "stdin": "ab"}, "abab"),
        ({"prompt": "{stdin} {", "stdin": "{stdin}"}, "{stdin} {"),  # what was filled in is not filled again
        ({"prompt": "\ufeffwhy?\r\nso\r"}, "why?\nso\r"),
        ({"prompt": "a\ufeffb"}, "a\ufeffb"),
        ({"prompt": "{x} {} {1} {{y}} {a b}"}, "{x} {} {1} {{y}} {a b}"),
        ({"tokens": [1, 2]}, None),
    ],
    ids=str,
)
def test_prompt_and_stdin_are_combined_into_the_request_text(fields: dict[str, Any], text: str | None) -> None:
    assert prompt(**fields) == text


@pytest.mark.parametrize(
    "fields", [{}, {"prompt": ""}, {"prompt": " \n"}, {"stdin": "\n"}, {"prompt": "", "stdin": ""}]
)
def test_an_empty_prompt_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="the prompt is empty"):
        prompt(**fields)


def test_a_stdin_placeholder_without_stdin_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="there is no text on stdin"):
        prompt(prompt="about {stdin}")


def test_only_known_placeholders_are_filled_and_only_once() -> None:
    values = {"a": "{b}", "b": "B", "long-name": "L"}
    assert fill("{a} {b} {c} {long-name} {{a}}", values, LIMIT) == "{b} B {c} L {{b}}"


@given(st.text())
def test_only_line_endings_and_a_byte_order_mark_are_altered(text: str) -> None:
    assert normal(text) == text.replace("\r\n", "\n").removeprefix("\ufeff")
    assert fill(text, {}, LIMIT) == text


# ---- parameters and conversations -----------------------------------------------------------------------------------


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with closing(History(tmp_path / "history.db")) as made:
        yield made


async def passed(folder: Path, history: History, **fields: Any) -> Call:
    """The call as the next stage sees it."""
    speaker = Speaker("x")
    catalog = a_catalog(folder)
    if not (folder / "models" / "e.json").exists():
        catalog.add("e", "echo", ["nick"], {}, False)
        catalog.add("f", "echo", [], {}, False)
    call = a_call(**fields)
    async with call.cleanup:
        await answer_of(compose([preprocess(catalog, history, LIMIT)], speaker), call)
    return speaker.calls[0]


def said(call: Call) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in call.messages]


async def save(history: History, conversation: str, prompt: str, text: str, **more: Any) -> None:
    number = history.next_number()
    await history.save(
        {"number": number, "id": str(number), "at": 0.0, "user": "ana", "state": "done", "model": "f",
         "conversation": conversation, "prompt": prompt, "text": text, **more}
    )  # fmt: skip


@in_loop
async def test_parameters_fill_prompt_and_system(tmp_path: Path, history: History) -> None:
    call = await passed(
        tmp_path, history, prompt="{what} of {topic}?", system="Be {how}.", params={"topic": "tea\r\n"},
        declared={"topic": None, "what": "history", "how": "brief"},
    )  # fmt: skip
    assert said(call) == [("system", "Be brief."), ("user", "history of tea\n?")]


@in_loop
async def test_a_declared_parameter_without_a_value_is_refused_by_name(tmp_path: Path, history: History) -> None:
    with pytest.raises(InvalidRequest, match="parameter topic") as caught:
        await passed(tmp_path, history, prompt="{topic}", declared={"topic": None, "other": "x"})
    assert "-p topic=" in caught.value.hint
    assert said(await passed(tmp_path, history, prompt="{stdin}", declared={"stdin": None}, stdin="s"))


@in_loop
async def test_a_request_without_a_conversation_begins_one(tmp_path: Path, history: History) -> None:
    call = await passed(tmp_path, history, prompt="why?")
    assert call.conversation == call.id[:12]
    assert call.entry.name == "e", "the first that was added"
    assert said(call) == [("user", "why?")]


@in_loop
async def test_a_model_is_found_by_name_and_alias(tmp_path: Path, history: History) -> None:
    assert (await passed(tmp_path, history, prompt="why?", model="f")).entry.name == "f"
    assert (await passed(tmp_path, history, prompt="why?", model="nick")).entry.name == "e"
    with pytest.raises(ModelUnavailable, match="nik") as caught:
        await passed(tmp_path, history, prompt="why?", model="nik")
    assert "nick" in caught.value.hint


@in_loop
async def test_a_continued_conversation_keeps_its_turns_model_and_system_prompt(
    tmp_path: Path, history: History
) -> None:
    await save(history, "talk", "one", "re: one", system="Be brief.")
    await save(history, "talk", "two", "re: two", system="Be brief.")
    for fields in ({"conversation": "talk"}, {"continue_last": True}):
        call = await passed(tmp_path, history, prompt="three", user="ana", **fields)
        assert call.conversation == "talk"
        assert call.entry.name == "f"
        assert said(call) == [
            ("system", "Be brief."), ("user", "one"), ("assistant", "re: one"), ("user", "two"), ("assistant", "re: two"),
            ("user", "three"),
        ]  # fmt: skip
        assert call.system == "Be brief.", "as in its row"
    over = await passed(tmp_path, history, prompt="three", user="ana", conversation="talk", system="", model="e")
    assert said(over)[0] == ("user", "one")
    assert (over.entry.name, over.system) == ("e", "")


@in_loop
async def test_a_new_system_prompt_applies_from_its_turn_and_the_old_one_before(
    tmp_path: Path, history: History
) -> None:
    for number, system in enumerate(("A", "A", "B", "B", "A"), 1):
        await save(history, "talk", f"q{number}", f"a{number}", system=system)
    call = await passed(tmp_path, history, prompt="q6", user="ana", conversation="talk", system="C")
    assert [text for _, text in said(call)] == [
        "A", "q1", "a1", "q2", "a2", "B", "q3", "a3", "q4", "a4", "A", "q5", "a5", "C", "q6",
    ]  # fmt: skip
    assert [role for role, text in said(call) if text in "ABC"] == ["system"] * 4
    same = await passed(tmp_path, history, prompt="q6", user="ana", conversation="talk", system="A")
    assert said(same)[-2:] == [("assistant", "a5"), ("user", "q6")], "the current system prompt is not repeated"


@in_loop
async def test_after_an_empty_system_prompt_no_earlier_one_is_sent(tmp_path: Path, history: History) -> None:
    for number, system in enumerate(("A", "", "B"), 1):
        await save(history, "talk", f"q{number}", f"a{number}", system=system)
    call = await passed(tmp_path, history, prompt="q4", user="ana", conversation="talk")
    assert [text for _, text in said(call)] == ["q1", "a1", "q2", "a2", "B", "q3", "a3", "q4"]


@in_loop
async def test_filled_in_values_stay_in_their_turn(tmp_path: Path, history: History) -> None:
    first = await passed(
        tmp_path,
        history,
        prompt="of {topic}",
        system="About {topic}.",
        params={"topic": "tea"},
        user="ana",
        conversation="talk",
    )
    assert (first.system, first.prompt) == ("About tea.", "of tea")
    await save(
        history, "talk", "of {topic}", "re", system="About {topic}."
    )  # like a prompt that contains a placeholder
    later = await passed(tmp_path, history, prompt="{topic}?", params={"topic": "tin"}, user="ana", conversation="talk")
    assert [text for _, text in said(later)] == ["About {topic}.", "of {topic}", "re", "tin?"]


@in_loop
async def test_conversations_belong_to_their_users(tmp_path: Path, history: History) -> None:
    await save(history, "talk", "one", "re: one")
    assert said(await passed(tmp_path, history, prompt="x", user="bob", conversation="talk")) == [("user", "x")]
    with pytest.raises(NotFound, match="bob has no conversation"):
        await passed(tmp_path, history, prompt="x", user="bob", continue_last=True)


@in_loop
async def test_a_conversation_stays_locked_until_the_outcome_is_recorded(tmp_path: Path, history: History) -> None:
    catalog, speaker = a_catalog(tmp_path, e={}, f={}), Speaker("x", held=True)
    stage = compose([preprocess(catalog, history, LIMIT)], speaker)
    first, second = (a_call(prompt=text, user="ana", conversation="talk") for text in ("one", "two"))
    tasks = [asyncio.create_task(answer_of(stage, call)) for call in (first, second)]
    await speaker.said.wait()
    speaker.go.set()
    await tasks[0]
    assert speaker.calls == [first]
    await save(history, "talk", "one", "re: one")
    assert not tasks[1].done()
    await first.cleanup.aclose()  # as `record` does
    await tasks[1]
    assert said(second) == [("user", "one"), ("assistant", "re: one"), ("user", "two")]
    await second.cleanup.aclose()


def test_a_placeholder_repeated_for_a_long_value_is_limited_in_size() -> None:
    values = {"a": "x" * 100}
    assert len(fill("{a}" * 9, values, LIMIT)) == 900
    with pytest.raises(InvalidRequest, match="1027 characters once its parameters are filled in"):
        fill("{a}" * 9 + "y" * 100, values, LIMIT)
