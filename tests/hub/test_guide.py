"""The built-in guide inside the hub: when it is chosen, what it takes, and that a refusal is never an answer."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from llmctld.call.call import Call, Event, Link, Stage, compose
from llmctld.history import History
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.memory.estimate import Estimates
from llmctld.models.running.load_plan import MemorySize
from llmctld.models.running.memory_budget import MemoryBudget
from llmctld.pipeline.compute.samples import samples
from llmctld.pipeline.intake.guide import DAY_S, LONGEST, Guide
from llmctld.pipeline.intake.preprocess import preprocess
from llmctld.pipeline.reuse.flight import Flights
from llmctld.pipeline.reuse.foresee import foresee
from llmctld.pipeline.reuse.semantic import SemanticCache

from llmctl import wire
from llmctl.config import Cache, Config, Limits, Size
from llmctl.errors import ContextOverflow, EngineFailed, ModelUnavailable, Usage
from llmctl.suggestions import best_fit
from tests.hub.scene import Speaker, a_call, a_residency, at_once, events_of, in_loop, text_of, with_guide

ANSWER = ("I on", "ly us", "e the pipe: ", "cat a | llmctl ask b")
REFUSAL = ("I on", "ly know llm", "ctl. Ask me about it.")


def asked(catalog: Catalog, prompt: str = "how do I pipe?", **fields: Any) -> Call:
    """A call as preprocess leaves it."""
    call = a_call(prompt=prompt, guide=True, **fields)
    call.model, call.messages = catalog.guide, [wire.ChatMessage("user", prompt)]
    return call


def guarded(tmp_path: Path, catalog: Catalog, last: Stage) -> Stage:
    return Guide(catalog, tmp_path / "told")(last)


async def shown(stage: Stage, call: Call) -> tuple[list[Event], ModelUnavailable | None]:
    """The events, and the refusal that ended them."""
    events: list[Event] = []
    try:
        async for event in stage(call):
            events.append(event)
    except ModelUnavailable as error:
        return events, error
    return events, None


# ---- answers and refusals -------------------------------------------------------------------------------------------


@in_loop
async def test_an_answer_is_held_back_only_until_it_differs_from_a_refusal(tmp_path: Path) -> None:
    speaker, heard = Speaker(*ANSWER, held=True), list[Event]()
    catalog = with_guide(tmp_path)
    stage, call = guarded(tmp_path, catalog, speaker), asked(catalog)

    async def follow() -> None:
        async for event in stage(call):
            heard.append(event)

    task = asyncio.create_task(follow())
    await speaker.said.wait()
    assert text_of(heard) == "".join(ANSWER), "the model has not ended, and all that it said was sent"
    assert [event.text for event in heard if isinstance(event, wire.Delta)] == list(ANSWER)
    speaker.go.set()
    await task
    assert isinstance(heard[-1], wire.Answer)


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        (REFUSAL, "stop"),
        (("\n I only know llmctl.",), "stop"),
        (("I only",), "length"),
        (("I",), "length"),
        ((), "stop"),
    ],
    ids=str,
)
@in_loop
async def test_a_refusal_and_what_may_be_one_show_nothing(tmp_path: Path, pieces: tuple[str, ...], reason: str) -> None:
    catalog = with_guide(tmp_path)
    call = asked(catalog)
    events, error = await shown(guarded(tmp_path, catalog, Speaker(*pieces, reason=reason)), call)
    assert events == []
    assert error is not None
    assert best_fit().command in error.hint
    assert "no model has been added" in error.message
    assert error.answer is None
    assert call.partial("error").text == ""


@in_loop
async def test_a_failure_or_a_cancel_before_the_text_is_known_to_be_an_answer_shows_nothing(tmp_path: Path) -> None:
    catalog = with_guide(tmp_path)
    broken = EngineFailed(
        "the engine ended", answer=a_call().answer("I on", None, "error", wire.TokenUsage(), wire.Timings())
    )
    call = asked(catalog)
    with pytest.raises(EngineFailed) as caught:
        await events_of(guarded(tmp_path, catalog, Speaker("I on", error=broken)), call)
    assert caught.value.answer is None
    assert call.partial("error").text == ""
    speaker, call = Speaker("I on", held=True), asked(catalog)
    task = asyncio.create_task(events_of(guarded(tmp_path, catalog, speaker), call))
    await speaker.said.wait()
    task.cancel()
    await asyncio.wait([task])
    assert call.partial("cancelled").text == ""


@in_loop
async def test_a_reader_that_leaves_in_the_middle_of_an_answer_keeps_what_it_was_shown(tmp_path: Path) -> None:
    catalog = with_guide(tmp_path)
    call = asked(catalog, model="guide")
    events = guarded(tmp_path, catalog, Speaker(*ANSWER))(call)
    async for event in events:
        assert isinstance(event, wire.Delta)
        break
    await events.aclose()
    assert call.partial("cancelled").text.startswith("I only us")


@in_loop
async def test_a_cancelled_request_leaves_the_text_of_an_equal_one_whole(tmp_path: Path) -> None:
    catalog, speaker = with_guide(tmp_path), Speaker("I on", held=True)
    stage, calls = guarded(tmp_path, catalog, Flights(speaker).join), [asked(catalog), asked(catalog)]
    for call in calls:
        call.key = "k" * 32
    tasks = [asyncio.create_task(events_of(stage, call)) for call in calls]
    await speaker.said.wait()
    await at_once(lambda: calls[1].hit)
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    speaker._pieces, speaker.calls[0].work.text = (), speaker.calls[0].work.text + "ly by pipe."
    speaker.go.set()
    last = (await tasks[0])[-1]
    assert isinstance(last, wire.Answer)
    assert last.text == "I only by pipe."


@in_loop
async def test_samples_are_shown_only_if_none_is_a_refusal(tmp_path: Path) -> None:
    catalog = with_guide(tmp_path)
    events, error = await shown(guarded(tmp_path, catalog, compose([samples], Speaker(*ANSWER))), asked(catalog, n=2))
    assert error is None
    assert text_of(events) == 2 * "".join(ANSWER)
    turns = iter([ANSWER, REFUSAL])

    def either(call: Call) -> Any:
        return Speaker(*next(turns))(call)

    call = asked(catalog, n=2)
    events, error = await shown(guarded(tmp_path, catalog, compose([samples], either)), call)
    assert (events, error is None) == ([], False)
    assert not call.partials("error")


# ---- what it takes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"stdin": "text"}, "stdin"), ({"files": [wire.File("a", "b")]}, "files"), ({"raw": True}, "--raw"),
        ({"schema": "{}"}, "a schema"), ({"grammar": "root"}, "a grammar"), ({"extract": "first"}, "-x"),
        ({"params": {"a": "b"}}, "parameters"), ({"declared": {"a": None}}, "a template"), ({"tokens": [1]}, "token ids"),
        ({"continue_last": True}, "a conversation"), ({"conversation": "c"}, "a conversation"),
        ({"adapters": {"a": 1.0}}, "adapters"),
    ],
    ids=str,
)  # fmt: skip
@in_loop
async def test_more_than_a_question_is_refused_without_asking_the_guide(
    tmp_path: Path, fields: dict[str, Any], word: str
) -> None:
    catalog, speaker = with_guide(tmp_path), Speaker(*ANSWER)
    events, error = await shown(guarded(tmp_path, catalog, speaker), asked(catalog, **fields))
    assert (events, speaker.calls) == ([], [])
    assert error is not None
    assert word in error.message
    assert best_fit().command in error.hint


@in_loop
async def test_a_system_prompt_or_a_chat_is_refused(tmp_path: Path) -> None:
    catalog, speaker = with_guide(tmp_path), Speaker(*ANSWER)
    for role in ("system", "assistant"):
        call = asked(catalog, model="guide")
        call.messages.insert(0, wire.ChatMessage(role, "Be brief."))
        call.system = "Be brief." if role == "system" else None
        _, error = await shown(guarded(tmp_path, catalog, speaker), call)
        assert error is not None
        assert ("a system prompt" if role == "system" else "earlier messages") in error.message
    assert not speaker.calls


@in_loop
async def test_a_question_longer_than_its_context_is_refused_like_any_other(tmp_path: Path) -> None:
    catalog = with_guide(tmp_path)
    _, error = await shown(guarded(tmp_path, catalog, Speaker(error=ContextOverflow("long"))), asked(catalog))
    assert error is not None
    assert "too long" in error.message
    speaker = Speaker(*ANSWER)
    _, error = await shown(guarded(tmp_path, catalog, speaker), asked(catalog, "w" * (LONGEST + 1)))
    assert error is not None
    assert f"at most {LONGEST} characters" in error.message
    assert not speaker.calls
    _, error = await shown(guarded(tmp_path, catalog, speaker), asked(catalog, "w" * LONGEST))
    assert error is None


@in_loop
async def test_a_named_guide_beside_other_models_points_to_those(tmp_path: Path) -> None:
    catalog = with_guide(tmp_path, e={})
    _, error = await shown(guarded(tmp_path, catalog, Speaker(*REFUSAL)), asked(catalog, model="guide"))
    assert error is not None
    assert "no model" not in error.message
    assert "models ls" in error.hint


@in_loop
async def test_a_file_without_the_words_of_its_refusal_answers_nothing(tmp_path: Path) -> None:
    catalog = with_guide(tmp_path, refusal="")
    events, error = await shown(guarded(tmp_path, catalog, Speaker(*ANSWER)), asked(catalog))
    assert (events, error is not None) == ([], True)


# ---- the introduction -----------------------------------------------------------------------------------------------


async def notices(stage: Stage, call: Call) -> list[str]:
    return [event.text for event in await events_of(stage, call) if isinstance(event, wire.Notice)]


@in_loop
async def test_the_guide_says_once_a_day_what_it_is(tmp_path: Path) -> None:
    catalog, speaker = with_guide(tmp_path), Speaker(*ANSWER)
    stage = guarded(tmp_path, catalog, speaker)
    for named in ({"model": "guide"}, {"default_model": "guide"}):
        assert await notices(stage, asked(catalog, **named)) == [], "it was asked for"
    (told,) = await notices(stage, asked(catalog))
    assert best_fit().command in told
    assert await notices(stage, asked(catalog)) == []
    assert await notices(guarded(tmp_path, catalog, speaker), asked(catalog)) == [], "the next hub remembers"
    for days in (-2, 2):  # the clock may have been wrong
        at = time.time() + days * DAY_S
        os.utime(tmp_path / "told", (at, at))
        assert len(await notices(stage, asked(catalog))) == 1


@in_loop
async def test_a_folder_that_cannot_be_written_silences_nobody(tmp_path: Path) -> None:
    catalog = with_guide(tmp_path)
    stage = Guide(catalog, tmp_path / "none" / "told")(Speaker(*ANSWER))
    assert [len(await notices(stage, asked(catalog))) for _ in range(2)] == [1, 0]


# ---- the caches -----------------------------------------------------------------------------------------------------


@in_loop
async def test_prefetch_and_the_semantic_cache_do_not_look_at_the_guide(tmp_path: Path) -> None:
    untouchable: Any = None  # any use of it would fail
    catalog = with_guide(tmp_path)
    links: list[Link] = [
        foresee(untouchable, catalog, Cache()),
        SemanticCache(untouchable, catalog, untouchable, untouchable, untouchable, Cache()),
    ]
    call = asked(catalog, semantic=True)
    call.keep = True
    assert text_of(await events_of(compose(links, Speaker(*ANSWER)), call)) == "".join(ANSWER)


# ---- which model is chosen ------------------------------------------------------------------------------------------


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with closing(History(tmp_path / "history.db")) as made:
        yield made


async def chosen(catalog: Catalog, history: History, **fields: Any) -> Call:
    call, speaker = a_call(**{"prompt": "why?", "guide": True} | fields), Speaker("x")
    async with call.cleanup:
        await events_of(compose([preprocess(catalog, history, 1000)], speaker), call)
    return speaker.calls[0]


@in_loop
async def test_the_guide_is_chosen_only_where_no_model_is_configured(tmp_path: Path, history: History) -> None:
    catalog = with_guide(tmp_path)
    assert (await chosen(catalog, history)).entry.name == "guide"
    for named in ({"model": "guide"}, {"default_model": "guide"}):
        assert (await chosen(catalog, history, guide=False, **named)).entry.name == "guide"
    for fields in ({"guide": False}, {"default_model": "e"}, {"model": "e"}):
        with pytest.raises(ModelUnavailable):
            await chosen(catalog, history, **fields)
    catalog.add("e", "echo", [], {}, False)
    assert (await chosen(catalog, history)).entry.name == "e"


@in_loop
async def test_a_model_file_that_cannot_be_read_is_no_reason_to_ask_the_guide(tmp_path: Path, history: History) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.json").write_text("{")
    with pytest.raises(ModelUnavailable):
        await chosen(with_guide(tmp_path), history)


@in_loop
async def test_a_conversation_that_the_guide_began_goes_on_with_the_model_added_since(
    tmp_path: Path, history: History
) -> None:
    row = {"id": "1", "at": 0.0, "user": "ana", "state": "done", "model": "guide", "conversation": "talk"}
    await history.save({**row, "number": history.next_number(), "prompt": "one", "text": "re: one"})
    fields: dict[str, Any] = {"user": "ana", "conversation": "talk"}
    catalog = with_guide(tmp_path)
    assert len((await chosen(catalog, history, model="guide", **fields)).messages) == 1, "each question by itself"
    catalog.add("e", "echo", [], {}, False)
    call = await chosen(catalog, history, **fields)
    assert (call.entry.name, len(call.messages)) == ("e", 3)


# ---- the catalogue --------------------------------------------------------------------------------------------------


def test_the_guide_is_known_by_name_only_and_takes_no_change(tmp_path: Path) -> None:
    catalog = with_guide(tmp_path)
    assert catalog.find("guide") is catalog.guide
    assert (catalog.all(), catalog.names("text"), catalog.has_text_model) == ([], [], False)
    for change in (catalog.remove, lambda name: catalog.pin(name, True), catalog.added):
        with pytest.raises(Usage, match="built in"):
            change("guide")
    for name, aliases in (("guide", []), ("mine", ["guide"])):
        with pytest.raises(Usage, match="built-in model"):
            catalog.add(name, "echo", list(aliases), {}, True)
    with pytest.raises(ModelUnavailable) as caught:
        catalog.find("guid")
    assert best_fit().command in caught.value.hint, "what helps is a model, and not another name"


def test_a_model_that_has_the_name_already_keeps_it(tmp_path: Path) -> None:
    own = with_guide(tmp_path)
    own._guide = None
    own.add("guide", "echo", [], {}, False)
    catalog = with_guide(tmp_path)
    assert catalog.guide is None
    assert catalog.find("guide").target == "echo"
    assert not catalog.is_guide(catalog.find("guide"))
    catalog.add("guide", "echo", [], {}, True)
    catalog.remove("guide")
    assert catalog.guide is not None


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_the_guide_does_not_count_in_the_budget(tmp_path: Path) -> None:
    catalog = with_guide(tmp_path)
    budget = MemoryBudget(catalog, Estimates(catalog, tmp_path / "m.json"), Limits(memory_bytes=Size(1)))
    guide = catalog.guide
    assert guide is not None
    budget.check(guide, [])
    assert budget.needs(guide) == MemorySize()
    assert budget.left(guide, []).host > 2**20


@pytest.mark.parametrize("first", ["big", "guide"])
@in_loop
async def test_the_guide_and_a_model_that_fills_the_memory_load_side_by_side(tmp_path: Path, first: str) -> None:
    catalog = with_guide(tmp_path, big={"takes": "10M"})
    residency = a_residency(catalog, tmp_path, Config(limits=Limits(memory_bytes=Size(10 * 2**20))))
    second = {"big": "guide", "guide": "big"}[first]
    try:
        async with residency.lease(catalog.find(first)), residency.lease(catalog.find(second)):
            assert residency.names == ["big", "guide"]
    finally:
        await residency.close()
