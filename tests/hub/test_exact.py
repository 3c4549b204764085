"""What the key of an answer covers, and which answers are stored and served."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from llmctld.cache.levels.tiers import Tiers
from llmctld.call.call import Call, Stage, compose
from llmctld.call.identity import key_of, wall_of
from llmctld.history import History
from llmctld.models.catalogue.catalog import Catalog
from llmctld.pipeline.intake.preprocess import preprocess
from llmctld.pipeline.reuse.exact import exact
from llmctld.pipeline.reuse.flight import flight
from llmctld.pipeline.reuse.store import store

from llmctl import wire
from llmctl.config import LABELS, Cache, KeepAlive, ModelSettings, Size
from llmctl.errors import Busy, CacheMiss, ConfigError, Timeout
from llmctl.wire import CACHE_MODES, ChatMessage, File, FunctionCall, Generate, ToolCall
from tests.hub.scene import Speaker, a_call, a_catalog, answer_of, events_of, in_loop, some_tiers, text_of

# ---- the key --------------------------------------------------------------------------------------------------------

MATTERS: dict[str, Any] = {
    "prompt": "how?",
    "messages": [ChatMessage("user", "how so?")],
    "stdin": "more",
    "files": [File("a.txt", "text")],
    "params": {"x": "2"},
    "declared": {"y": "2"},
    "tokens": [104, 105],
    "system": "Be brief.",
    "raw": True,
    "model": "other",
    "default_model": "usual",
    "user": "bob",
    "max_tokens": 7,
    "overflow": "head",
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 7,
    "min_p": 0.5,
    "repeat_penalty": 1.5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "think": "low",
    "logit_bias": {"104": 5.0},
    "seed": 7,
    "stop": ["x"],
    "ignore_eos": True,
    "extract": "first",
    "adapters": {"a": 0.5},
    "repro": True,
    "schema": "{}",
    "grammar": 'root ::= "a"',
    "logprobs": 1,
    "n": 2,
    "conversation": "talk",
    "continue_last": True,
}
"""Every field that can change the answer, with another value than that of BASE."""

DOES_NOT_MATTER: dict[str, Any] = {
    "protocol": 7,
    "tags": ["a"],
    "cache": "store",
    "max_age": 5.0,
    "priority": "batch",
    "timeout": 5.0,
    "max_cost": Decimal(5),
    "keep_alive": 5.0,
    "stream": True,
    "semantic": True,
    "explain": True,
    "guide": True,
}
"""How an answer is delivered, labelled, awaited or looked up is no part of what it is."""

REFUSED = {"tools", "tool_choice"}
"""Reserved: `validate` refuses them."""

BASE: dict[str, Any] = {"prompt": "why {x} {y}?", "params": {"x": "1"}, "declared": {"y": "1"}, "user": "ana"}


def test_every_request_field_is_classified_for_the_key() -> None:
    assert set(Generate.__struct_fields__) == MATTERS.keys() | DOES_NOT_MATTER.keys() | REFUSED
    assert not MATTERS.keys() & DOES_NOT_MATTER.keys()


async def key(folder: Path, catalog: Catalog, scope: list[str], **fields: Any) -> str:
    """The key that `exact` computes after `preprocess`, with a history in which ana has the conversations talk and last."""
    history = History(folder / "history.db")
    await history.open()
    for conversation, prompt in (("talk", "hello"), ("last", "good day")):
        await history.save(
            {"number": history.next_number(), "id": conversation, "at": 0.0, "user": "ana", "state": "done", "model": "e",
             "conversation": conversation, "prompt": prompt, "text": "hi"}
        )  # fmt: skip
    call = a_call(**{**BASE, **fields})
    try:
        await answer_of(compose([preprocess(catalog, history, 10**6)], Speaker("x")), call)
    finally:
        (folder / "history.db").unlink()
        history.close()
    return key_of(call, catalog, scope)


@in_loop
async def test_key_covers_exactly_what_changes_the_answer(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(20))
    settings = {
        "e": {"adapters": f'{{"a": "{tmp_path}/a.gguf"}}'},
        "other": {"token_ms": "1"},
        "usual": {"token_ms": "2"},
    }
    catalog = a_catalog(tmp_path, **settings)
    scope = ["user"]
    base = await key(tmp_path, catalog, scope)
    assert base == await key(tmp_path, catalog, scope)
    seen = {base: "nothing"}
    for name, value in MATTERS.items():
        found = await key(tmp_path, catalog, scope, **{name: value})
        assert found not in seen, f"{name} and {seen[found]}"
        seen[found] = name
    for name, value in DOES_NOT_MATTER.items():
        assert await key(tmp_path, catalog, scope, **{name: value}) == base, name


@in_loop
async def test_chat_has_the_same_key_as_the_equivalent_short_form(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path, e={})
    short = {"prompt": "why?\r\nnow", "system": "Be brief.", "params": {}, "declared": {}}
    system, user = ChatMessage("system", "Be brief."), ChatMessage("user", "why?\nnow")
    chat: dict[str, Any] = {"prompt": None, "params": {}, "declared": {}}
    expected = await key(tmp_path, catalog, [], **short)
    assert await key(tmp_path, catalog, [], **chat, messages=[system, user]) == expected
    turn = [ChatMessage("user", "hello"), ChatMessage("assistant", "hi")]
    expected = await key(tmp_path, catalog, [], **{**short, "system": None}, conversation="talk")
    assert await key(tmp_path, catalog, [], **chat, messages=[*turn, user]) == expected
    expected = await key(tmp_path, catalog, [], **{**short, "system": ""})
    assert await key(tmp_path, catalog, [], **chat, messages=[ChatMessage("system", ""), user]) == expected
    called = [ToolCall("c", FunctionCall("f", "{}"))]
    others = [
        ChatMessage("user", "why?\nnow", "bob"), ChatMessage("assistant", "hi", reasoning="hm"),
        ChatMessage("assistant", "hi", tool_calls=called), ChatMessage("tool", "hi", tool_call_id="c"),
    ]  # fmt: skip
    keys = [await key(tmp_path, catalog, [], **chat, messages=[user, each, user]) for each in others]
    assert len({expected, *keys}) == len(others) + 1, "every field of a message changes the key"


@in_loop
async def test_partition_of_a_chat_covers_all_before_its_last_question(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path, e={})

    async def wall(*texts: str) -> str:
        roles = itertools.cycle(("user", "assistant"))
        messages = [ChatMessage(role, text) for role, text in zip(roles, texts, strict=False)]
        call = a_call(prompt=None, messages=messages)
        history = History(tmp_path / "h.db")
        await answer_of(compose([preprocess(catalog, history, 10**6)], Speaker("x")), call)
        history.close()
        return wall_of(call, catalog, [])

    assert await wall("a", "b", "why?") == await wall("a", "b", "how come?")
    assert await wall("a", "b", "why?") != await wall("a", "c", "why?")
    assert await wall("a", "b", "why?") != await wall("why?")


@pytest.mark.parametrize("name", sorted({*ModelSettings.__struct_fields__} - {*LABELS}))
def test_model_settings_change_the_key(tmp_path: Path, name: str) -> None:
    values: dict[str, Any] = {
        "kv_type": "q8_0",
        "flash_attention": True,
        "adapters": {"a": "b"},
        "speculation": "off",
        "pooling": "cls",
        "normalize": False,
        "prompts": {"a": "b"},
        "draft": "small.gguf",
        "device": "cpu",
        "tensor_split": [1.0],
        "remote_model": "gpt",
        "api_key_env": "KEY",
        "takes_grammar": True,
        "dtype": "bfloat16",
        "quantization": "int8",
        "trust": True,
        "fail": "crash",
        "think": "low",
        "template_options": {"a": 1},
        "template": str(tmp_path / "a.jinja"),
        "pin": True,
        "preload": True,
        "takes": Size(1),
        "keep_alive": KeepAlive(1),
    }
    (tmp_path / "a.jinja").write_text("{{ messages[0].content }}")
    entry = a_catalog(tmp_path, e={}).find("e")
    plain = Catalog(tmp_path / "models", {})
    other = Catalog(tmp_path / "models", {"e": ModelSettings(**{name: values.get(name, 1)})})
    call = replace(a_call(prompt="why?"), model=entry)
    assert (key_of(call, plain, []) == key_of(call, other, [])) == (name in LABELS)


def test_model_prices_and_labels_do_not_change_the_key(tmp_path: Path) -> None:
    labels = ModelSettings(
        keep_alive=KeepAlive(1),
        pin=True,
        preload=True,
        tier="premium",
        tags=["a"],
        price_in=Decimal(1),
        price_cached=Decimal(1),
        price_out=Decimal(1),
        machine_per_hour=Decimal(1),
        overhead=Decimal(1),
        overhead_on="all",
    )
    assert {name for name in ModelSettings.__struct_fields__ if getattr(labels, name) is not None} == {*LABELS}
    call = replace(a_call(prompt="why?"), model=a_catalog(tmp_path, e={}).find("e"))
    catalogs = Catalog(tmp_path / "models", {}), Catalog(tmp_path / "models", {"e": labels})
    assert len({key_of(call, catalog, []) for catalog in catalogs}) == 1


def test_message_boundaries_and_roles_change_the_key(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path, e={})
    call = replace(a_call(), model=catalog.find("e"))
    keys = {
        key_of(replace(call, messages=[ChatMessage(*pair) for pair in pairs]), catalog, [])
        for pairs in (
            [("system", "ab"), ("user", "c")],
            [("system", "a"), ("user", "bc")],
            [("user", "ab"), ("user", "c")],
            [("user", "abc")],
        )
    }
    assert len(keys) == 4


@in_loop
async def test_scope_decides_who_shares_answers(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path, e={})
    for scope, users_share, tags_share in (([], True, True), (["user"], False, True), (["user", "tags"], False, False)):
        base = await key(tmp_path, catalog, scope)
        assert (await key(tmp_path, catalog, scope, user="bob") == base) is users_share
        assert (await key(tmp_path, catalog, scope, tags=["x"]) == base) is tags_share


@in_loop
async def test_order_of_logit_biases_does_not_change_the_key(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path, e={})
    one, other = {"1": 1.0, "2": 2.0}, {"2": 2.0, "1": 1.0}
    assert await key(tmp_path, catalog, [], logit_bias=one) == await key(tmp_path, catalog, [], logit_bias=other)


@in_loop
async def test_unknown_scope_field_is_refused_at_start(tmp_path: Path) -> None:
    async with a_stage(tmp_path, Speaker("x")) as (_, tiers):
        with pytest.raises(ConfigError, match=r"cache\.scope: 'usr'"):
            exact(tiers, a_catalog(tmp_path), Cache(scope=["usr"]))


# ---- which answers are stored ---------------------------------------------------------------------------------------


@asynccontextmanager
async def a_stage(folder: Path, last: Stage, settings: Cache | None = None) -> AsyncIterator[tuple[Stage, Tiers]]:
    catalog = a_catalog(folder)
    if not (folder / "models" / "e.json").exists():
        catalog.add("e", "echo", [], {}, False)
    tiers = some_tiers(folder)
    links = [exact(tiers, catalog, settings or Cache()), flight(tiers), store(tiers, catalog)]

    async def stage(call: Call) -> Any:
        call.model = catalog.find("e")
        call.messages = [ChatMessage("user", call.request.prompt or "")]
        async for event in choose_stage(call):
            yield event

    choose_stage = compose(links, last)
    try:
        yield stage, tiers
    finally:
        await tiers.close()


SAMPLING: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.7},
    {"seed": 0},
    {"seed": 7, "temperature": 0.7},
]
VARIED = {"temperature": 0.7}


@pytest.mark.parametrize("fields", SAMPLING, ids=str)
@pytest.mark.parametrize("mode", CACHE_MODES)
@in_loop
async def test_cache_mode_decides_what_is_stored_and_served(tmp_path: Path, mode: str, fields: dict[str, Any]) -> None:
    asked_for_variety = fields == VARIED
    stores = mode == "store" or (mode in ("auto", "refresh") and not asked_for_variety)
    serves = mode in ("store", "only") or (mode == "auto" and not asked_for_variety)
    async with a_stage(tmp_path, Speaker("new")) as (stage, tiers):
        question = a_call(prompt="stored?", cache=mode, **fields)
        if mode == "only":
            with pytest.raises(CacheMiss):
                await answer_of(stage, question)
        else:
            assert (await answer_of(stage, question)).cache.hit is None
        assert (tiers._memory.size()[0] == 1) is stores

        await answer_of(stage, a_call(prompt="served?", cache="store", **fields))
        again = await answer_of(stage, a_call(prompt="served?", cache=mode, **fields))
        assert (again.cache.hit == "memory") is serves


@in_loop
async def test_disabled_cache_stores_only_on_request(tmp_path: Path) -> None:
    async with a_stage(tmp_path, Speaker("x"), Cache(enabled=False)) as (stage, tiers):
        for mode in ("auto", "refresh", "skip"):
            await answer_of(stage, a_call(prompt="why?", cache=mode))
        assert tiers._memory.size() == (0, 0)
        await answer_of(stage, a_call(prompt="why?", cache="store"))
        assert (await answer_of(stage, a_call(prompt="why?", cache="only"))).cache.hit == "memory"


@in_loop
async def test_cache_hit_equals_the_computed_answer(tmp_path: Path) -> None:
    speaker = Speaker("be", "cause", reason="length")
    async with a_stage(tmp_path, speaker) as (stage, tiers):
        first = await answer_of(stage, a_call(prompt="why?", user="ana"))
        call = a_call(prompt="why?", user="ana")
        events = await events_of(stage, call)
        answer = events[-1]
        assert isinstance(answer, wire.Answer)
        assert text_of(events) == answer.text == "because"
        assert (answer.finish_reason, answer.model, answer.usage) == ("length", "e", first.usage)
        assert (answer.id, answer.user, answer.cache.key) == (call.id, "ana", first.cache.key)
        assert answer.cache.age_s is not None
        assert len(speaker.calls) == 1
        assert (await tiers.report.stats()).requests == 2


@in_loop
async def test_refresh_recomputes_and_replaces_the_stored_answer(tmp_path: Path) -> None:
    async with a_stage(tmp_path, Speaker("old")) as (stage, _):
        await answer_of(stage, a_call(prompt="why?"))
    async with a_stage(tmp_path, Speaker("new")) as (stage, _):
        assert (await answer_of(stage, a_call(prompt="why?"))).text == "old"
        assert (await answer_of(stage, a_call(prompt="why?", cache="refresh"))).text == "new"
        assert (await answer_of(stage, a_call(prompt="why?"))).text == "new"


@in_loop
async def test_answer_older_than_max_age_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = Speaker("x")
    async with a_stage(tmp_path, speaker) as (stage, _):
        await answer_of(stage, a_call(prompt="why?"))
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 100)
        served = await answer_of(stage, a_call(prompt="why?", max_age=200.0))
        assert served.cache.hit == "memory"
        assert served.cache.age_s is not None
        assert served.cache.age_s >= 99.9
        with pytest.raises(CacheMiss):
            await answer_of(stage, a_call(prompt="why?", max_age=50.0, cache="only"))
        assert (await answer_of(stage, a_call(prompt="why?", max_age=50.0))).cache.hit is None
        assert len(speaker.calls) == 2


@pytest.mark.parametrize("reason", ["cancelled", "timeout", "error", "budget"])
@in_loop
async def test_a_partial_answer_is_never_stored(tmp_path: Path, reason: str) -> None:
    async with a_stage(tmp_path, Speaker("half", reason=reason)) as (stage, tiers):
        await answer_of(stage, a_call(prompt="why?", cache="store"))
        assert tiers._memory.size() == (0, 0)


@pytest.mark.parametrize("error", [Busy("full"), Timeout("late"), RuntimeError("a bug")])
@in_loop
async def test_failed_answer_is_never_stored(tmp_path: Path, error: Exception) -> None:
    async with a_stage(tmp_path, Speaker("half", error=error)) as (stage, tiers):
        with pytest.raises(type(error)):
            await answer_of(stage, a_call(prompt="why?"))
        assert (await tiers.report.stats()).levels[1].entries == 0


@in_loop
async def test_eight_equal_requests_are_computed_once_and_counted(tmp_path: Path) -> None:
    speaker = Speaker("a", "b", held=True)
    async with a_stage(tmp_path, speaker) as (stage, tiers):
        tasks = [asyncio.create_task(answer_of(stage, a_call(prompt="why?"))) for _ in range(8)]
        await speaker.said.wait()
        speaker.go.set()
        answers = await asyncio.gather(*tasks)
        assert sorted(str(answer.cache.hit) for answer in answers) == ["None", *["flight"] * 7]
        assert len(speaker.calls) == 1
        assert (await tiers.report.stats()).joined == 7
        assert (await answer_of(stage, a_call(prompt="why?"))).cache.hit == "memory", "stored, whoever was first"


@in_loop
async def test_requests_for_varied_answers_are_not_joined(tmp_path: Path) -> None:
    speaker = Speaker("a")
    async with a_stage(tmp_path, speaker) as (stage, _):
        calls = [a_call(prompt="why?", **VARIED) for _ in range(3)] + [a_call(prompt="why?", cache="skip")]
        await asyncio.gather(*(answer_of(stage, call) for call in calls))
        assert len(speaker.calls) == 4
