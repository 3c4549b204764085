"""An answer arrives with every field it was computed with, on every path through the pipeline.

The fields are found by introspection, so that a field which is added to Answer is tested without a change here.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from llmctld import app
from llmctld.cache.eviction import POLICIES
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.cache.levels.memory import MemoryLevel
from llmctld.cache.levels.shared import LIMIT, SharedLevel
from llmctld.cache.levels.tiers import Tiers
from llmctld.call.call import Call, Event, Stage
from llmctld.call.identity import wall_of
from llmctld.history import History
from llmctld.inside.background import Background
from llmctld.models.catalogue.catalog import Catalog
from llmctld.money.pricing.price_list import PriceList
from llmctld.pipeline.compute.trial import Trial
from llmctld.pipeline.intake.guide import Guide
from llmctld.pipeline.reuse.semantic import SemanticCache
from llmctld.semantic.knowledge import Knowledge
from msgspec import inspect

from llmctl import wire
from llmctl.config import Config
from tests.hub.scene import (
    a_call,
    a_catalog,
    a_disk,
    a_residency,
    answer_of,
    at_once,
    in_loop,
    some_accounts,
    some_tiers,
    until,
)
from tests.redis_server import RedisServer, a_redis, needs_redis

RECEIVERS = ("id", "user", "model", "conversation", "cache", "cost", "route", "batched", "timings", "explain")
"""Fields that belong to the request that receives the answer; each is looked at in `check_receivers`."""
MUST = {"finish_reason": "length", "index": 0, "cache": wire.CacheUse(key="k", similarity=0.5, age_s=1.0)}
"""Where another value would mean a partial answer, which is not stored, one of several samples, or a hit."""


def filled(kind: inspect.Type, name: str) -> Any:
    """A value of the type that differs from its default."""
    if isinstance(kind, inspect.UnionType):
        return filled(next(each for each in kind.types if not isinstance(each, inspect.NoneType)), name)
    if isinstance(kind, inspect.StructType):
        return kind.cls(**{field.name: filled(field.type, field.name) for field in kind.fields})
    if isinstance(kind, inspect.ListType):
        return [filled(kind.item_type, name)]
    if isinstance(kind, inspect.DictType):
        return {filled(kind.key_type, name): filled(kind.value_type, name)}
    values: dict[type, Any] = {
        inspect.StrType: f"the {name}", inspect.IntType: len(name) + 2, inspect.FloatType: len(name) + 0.5,
        inspect.BoolType: True, inspect.AnyType: {name: [1, 2**70]}, inspect.DecimalType: Decimal("1.5"),
    }  # fmt: skip
    return wire.with_whole(values[type(kind)])


def computed() -> wire.Answer:
    """An answer with every field set."""
    kind = inspect.type_info(wire.Answer)
    assert isinstance(kind, inspect.StructType)
    answer: wire.Answer = filled(kind, "answer")
    return msgspec.structs.replace(answer, **MUST)


def test_every_field_of_the_sample_answer_differs_from_its_default() -> None:
    answer = computed()
    plain = wire.Answer(id="", usage=wire.TokenUsage(), timings=wire.Timings(), cache=wire.CacheUse())
    for name in set(wire.Answer.__struct_fields__) - {"index"}:
        assert getattr(answer, name) != getattr(plain, name), name


class Innermost:
    """Replaces the stage `generate`: answers with every field set, once `go` is set."""

    def __init__(self) -> None:
        self.go, self.calls = asyncio.Event(), 0
        self.go.set()

    async def __call__(self, call: Call) -> AsyncGenerator[Event, None]:
        self.calls += 1
        await self.go.wait()
        yield wire.Delta(text="the text")
        yield computed()


async def one_vector(request: wire.Embed) -> AsyncGenerator[wire.Embeddings, None]:
    """Replaces the embedding model: all questions are similar."""
    yield wire.Embeddings(model="e", dimension=4, vectors=struct.pack("<4f", 1, 0, 0, 0) * len(request.texts), tokens=1)


@dataclass
class Made:
    stage: Stage
    innermost: Innermost
    tiers: Tiers
    knowledge: Knowledge
    catalog: Catalog


@asynccontextmanager
async def a_pipeline(folder: Path, tiers: Tiers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Made]:
    """The stages of app.py in their order, around `Innermost`."""
    catalog, innermost, config = a_catalog(folder, e={}), Innermost(), Config()
    residency, history, background, trial = (
        a_residency(catalog, folder),
        History(folder / "h.db"),
        Background(),
        Trial(),
    )
    await history.open()
    embedding: Any = one_vector
    knowledge = Knowledge(folder / "semantic", catalog, tiers, config.cache.semantic)
    semantic = app.build_semantic(knowledge, config.cache, tiers, catalog, embedding, residency, background)
    monkeypatch.setattr(app, "Generator", lambda *_: innermost)
    background.pipeline = app.build_pipeline(
        config,
        catalog,
        history,
        tiers,
        residency,
        trial,
        background,
        None,
        semantic,
        Guide(catalog, folder / "told"),
        PriceList(catalog, config.money),
        some_accounts(folder),
    )
    try:
        yield Made(background.pipeline, innermost, tiers, knowledge, catalog)
    finally:
        innermost.go.set()
        await close(background, semantic)
        await residency.close()
        await trial.close()
        await tiers.close()
        history.close()


async def close(background: Background, semantic: SemanticCache) -> None:
    await background.close()
    await semantic.verifier.close()
    await semantic.knowledge.close()


def check(call: Call, answer: wire.Answer, hit: str | None) -> None:
    """Every field is as computed, except those of the receiver."""
    inner = computed()
    for name in set(wire.Answer.__struct_fields__) - set(RECEIVERS):
        assert getattr(answer, name) == getattr(inner, name), name
    assert (answer.id, answer.user, answer.conversation) == (call.id, "bea", call.conversation)
    assert answer.conversation
    assert (answer.cache.hit, answer.cache.key is None) == (hit, False)
    assert answer.timings is not inner.timings
    assert 0 < answer.timings.total_ms < 120_000
    assert answer.explain is call.explained
    mine = hit is None
    assert call.model is not None
    assert answer.model == call.model.name
    assert answer.cost == (inner.cost if mine else wire.Cost()), (
        "the model has no price; test_prices.py has those that have one"
    )
    for name in ("route", "batched"):
        assert getattr(answer, name) == (getattr(inner, name) if mine else None), name


def asked(prompt: str = "Why is the sky blue?", **fields: Any) -> Call:
    return a_call(prompt=prompt, user="bea", explain=True, **fields)


@in_loop
async def test_a_computed_answer_and_a_memory_hit_have_every_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_pipeline(tmp_path, some_tiers(), monkeypatch) as made:
        for hit in (None, "memory"):
            call = asked()
            check(call, await answer_of(made.stage, call), hit)
        assert made.innermost.calls == 1


@in_loop
async def test_joined_and_taken_over_answers_have_every_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_pipeline(tmp_path, some_tiers(), monkeypatch) as made:
        made.innermost.go.clear()
        _, second, third = calls = [asked() for _ in range(3)]
        tasks = [asyncio.create_task(answer_of(made.stage, call)) for call in calls]
        await at_once(lambda: second.hit and third.hit)
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        made.innermost.go.set()
        check(second, await tasks[1], None)
        check(third, await tasks[2], "flight")
        assert (third.computed_by, made.innermost.calls) == (second.id, 1)
        assert third.saved_ms == computed().timings.prefill_ms + computed().timings.decode_ms


@in_loop
async def test_a_disk_hit_has_every_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(hit: str | None) -> None:
        call = asked()
        thread = LevelThread("disk", partial(_disk, tmp_path / "answers"), 2**20)
        async with a_pipeline(tmp_path, Tiers(a_memory(), [thread]), monkeypatch) as made:
            check(call, await answer_of(made.stage, call), hit)
        (tmp_path / "models" / "e.json").unlink()

    await ask(None)
    await ask("disk")


def a_memory() -> MemoryLevel:
    return MemoryLevel(2**20, POLICIES["lru"](2**20))


def _disk(folder: Path, repair: bool) -> Any:
    return a_disk(folder)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with a_redis() as made:
        yield made


@needs_redis
@in_loop
async def test_a_hit_on_the_shared_server_has_every_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: RedisServer
) -> None:
    for number, hit in enumerate((None, "shared")):
        call, folder = asked(), tmp_path / str(number)
        folder.mkdir()
        thread = LevelThread(SharedLevel.name, lambda repair: SharedLevel(server.url()), LIMIT, rests=True)
        async with a_pipeline(folder, Tiers(a_memory(), [thread]), monkeypatch) as made:
            check(call, await answer_of(made.stage, call), hit)


@in_loop
async def test_a_semantic_hit_has_every_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "llmctld.semantic.knowledge.secrets.randbits", lambda _: 1
    )  # one hit in four is computed, to learn
    async with a_pipeline(tmp_path, some_tiers(), monkeypatch) as made:
        first = asked(semantic=True)
        check(first, await answer_of(made.stage, first), None)
        wall = wall_of(first, made.catalog, Config().cache.scope)
        await until(
            lambda: made.knowledge.is_open and made.knowledge.entries.count_behind(wall) > 0
        )  # it is stored after the answer
        like = asked("why is the sky blue", semantic=True)
        answer = await answer_of(made.stage, like)
        check(like, answer, "semantic")
        assert answer.cache.key == first.key != like.key
        assert made.innermost.calls == 1
