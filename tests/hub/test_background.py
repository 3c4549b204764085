"""Background requests of the hub: charged to the hub, never delaying a user's, and ended with the hub."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from llmctld.call.call import GaveWay, Stage, compose
from llmctld.call.origin import OWN, Purpose, origin_of
from llmctld.history import History
from llmctld.inside.background import Background
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.engines.ticket import ChatMessage
from llmctld.models.running.residency import Residency
from llmctld.pipeline.compute.generate import Generator
from llmctld.pipeline.compute.give_way import give_way
from llmctld.pipeline.intake.preprocess import preprocess
from llmctld.pipeline.intake.record import record
from llmctld.pipeline.reuse.exact import exact
from llmctld.pipeline.reuse.flight import flight
from llmctld.pipeline.reuse.store import store

from llmctl.config import Cache
from llmctl.errors import ModelUnavailable
from llmctl.wire import Answer, Answers, Generate
from tests.hub.scene import a_call, answer_of, at_once, engines, in_loop, some_tiers, until


class Scene:
    """The pipeline's real stages on a real echo engine, and the background that uses them."""

    def __init__(self, folder: Path, catalog: Catalog, residency: Residency) -> None:
        self.users = 0
        self.residency, self.entry = residency, catalog.find("e")
        self.background = Background(lambda: self.users)
        self.history = History(folder / "history.db")
        self.tiers = some_tiers()

    def pipeline(self) -> Stage:
        assert self.background.pipeline is not None
        return self.background.pipeline

    async def generate(self, request: Generate, **options: Any) -> Answer | Answers:
        return await self.background.generate(request, origin_of(request, Purpose.SHADOW), **options)

    async def rows(self) -> list[tuple[object, ...]]:
        return await self.history._store.read("SELECT user, prompt, state FROM requests ORDER BY number")


@asynccontextmanager
async def scene(folder: Path, queue: int = 8, **model: str) -> AsyncIterator[Scene]:
    async with engines(folder, e=model) as (catalog, residency):
        made = Scene(folder, catalog, residency)
        made.background.pipeline = compose(
            [
                record(made.history),
                preprocess(catalog, made.history, 2**20),
                exact(made.tiers, catalog, Cache()),
                flight(made.tiers),
                store(made.tiers, catalog),
                give_way(made.background.give_way, residency),
            ],
            Generator(residency, catalog, queue),
        )
        yield made
        await made.background.close()
        await made.tiers.close()
        made.history.close()


ANA = Generate(prompt="next?", model="e", user="ana")


@in_loop
async def test_background_request_is_charged_to_the_hub_and_stored_for_the_user(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        answer = await it.generate(ANA, load=True)
        assert isinstance(answer, Answer)
        assert answer.text == "next?"
        assert await it.rows() == [(OWN, "next?", "done")]
        theirs = await answer_of(it.pipeline(), a_call(prompt="next?", model="e", user="ana"))
        assert theirs.cache.hit == "memory"
        assert theirs.cache.key == answer.cache.key
        others = await answer_of(it.pipeline(), a_call(prompt="next?", model="e", user="bob"))
        assert others.cache.hit is None


@in_loop
async def test_prepared_messages_are_sent_to_the_model_unchanged(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        messages = [ChatMessage("user", "a"), ChatMessage("assistant", "b"), ChatMessage("user", "c")]
        request = Generate(prompt="ignored", model="e", user="ana", continue_last=True)
        answer = await it.generate(request, messages=messages, load=True)
        assert isinstance(answer, Answer)
        assert answer.text == "c"


@in_loop
async def test_background_request_does_not_load_a_model(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        with pytest.raises(ModelUnavailable, match="not loaded"):
            await it.generate(ANA)
        assert it.residency.names == []


@in_loop
async def test_background_request_is_cancelled_when_a_user_request_needs_the_model(tmp_path: Path) -> None:
    async with scene(tmp_path, token_ms="20") as it:
        long = Generate(prompt="x" * 4000, model="e", user="ana")
        work = asyncio.create_task(it.generate(long, load=True))
        await at_once(lambda: it.residency.names and it.residency.leases("e") == 1)
        theirs = await answer_of(it.pipeline(), a_call(prompt="hi", model="e", user="bob"))
        assert theirs.text == "hi"
        with pytest.raises(GaveWay):
            await work
        assert (await it.rows())[0] == (OWN, long.prompt, "cancelled")


@in_loop
async def test_background_request_continues_during_a_cache_hit(tmp_path: Path) -> None:
    async with scene(tmp_path, token_ms="1") as it:
        await it.generate(ANA, load=True)
        work = asyncio.create_task(it.generate(Generate(prompt="y" * 50, model="e", user="ana")))
        await at_once(lambda: it.residency.leases("e") == 1)
        theirs = await answer_of(it.pipeline(), a_call(prompt="next?", model="e", user="ana"))
        assert theirs.cache.hit == "memory"
        assert isinstance(await work, Answer)


@in_loop
async def test_non_yielding_background_request_runs_beside_a_user_request(tmp_path: Path) -> None:
    async with scene(tmp_path, token_ms="2") as it:
        await it.generate(ANA, load=True)
        other = Generate(prompt="y" * 50, model="e", user="ana")
        work = asyncio.create_task(it.generate(other, yields=False))
        await at_once(lambda: it.residency.leases("e") == 1)
        assert (await answer_of(it.pipeline(), a_call(prompt="hi", model="e", user="bob"))).text == "hi"
        answer = await work
        assert isinstance(answer, Answer)
        assert answer.text == other.prompt


@in_loop
async def test_user_request_joins_an_equal_background_request_and_keeps_it_running(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        request = Generate(prompt="y" * 60, model="e", user="ana")
        work = asyncio.create_task(it.generate(request, load=True))
        await at_once(lambda: it.residency.names and it.residency.leases("e") == 1)
        os.kill(pid := it.residency.statuses()[0].pid, signal.SIGSTOP)  # so that it does not end before it is joined
        same = a_call(prompt=request.prompt, model="e", user="ana")
        theirs = asyncio.create_task(answer_of(it.pipeline(), same))
        await at_once(lambda: same.hit == "flight")
        it.background.give_way()
        os.kill(pid, signal.SIGCONT)
        answer = await theirs
        assert (answer.text, answer.cache.hit) == (request.prompt, None), "the computation is the user's now"
        with pytest.raises(GaveWay):
            await work


@in_loop
async def test_background_request_takes_no_queue_place_from_users(tmp_path: Path) -> None:
    async with scene(tmp_path, queue=0, slots="1", token_ms="5") as it:
        await it.generate(ANA, load=True)
        work = asyncio.create_task(it.generate(Generate(prompt="y" * 4000, model="e"), yields=False))
        await at_once(lambda: it.residency.leases("e") == 1)
        assert (await answer_of(it.pipeline(), a_call(prompt="hi", model="e", user="bob"))).text == "hi"
        it.background.end()
        with pytest.raises(GaveWay):
            await work


@in_loop
async def test_background_request_does_not_extend_keep_alive(tmp_path: Path) -> None:
    async with scene(tmp_path, keep_alive="1h") as it:
        await answer_of(it.pipeline(), a_call(prompt="hi", model="e", user="bob", keep_alive=300.0))
        await it.generate(ANA)
        left = it.residency.remaining(it.entry)
        assert left is not None
        assert 200 < left <= 300
        await answer_of(it.pipeline(), a_call(prompt="ho", model="e", user="bob", keep_alive=-1.0))
        await it.generate(Generate(prompt="other", model="e"))
        assert it.residency.remaining(it.entry) == -1.0


@in_loop
async def test_background_requests_end_and_are_refused_when_the_hub_closes(tmp_path: Path) -> None:
    async with scene(tmp_path, token_ms="20") as it:
        work = asyncio.create_task(it.generate(Generate(prompt="x" * 4000, model="e"), load=True))
        await until(lambda: bool(it.residency.names))
        await it.background.close()
        with pytest.raises(GaveWay):
            await work
        with pytest.raises(GaveWay, match="ends"):
            await it.generate(ANA)


@in_loop
async def test_cancelling_the_caller_cancels_the_background_request(tmp_path: Path) -> None:
    async with scene(tmp_path, token_ms="20") as it:
        work = asyncio.create_task(it.generate(Generate(prompt="x" * 4000, model="e"), load=True))
        await at_once(lambda: it.residency.names and it.residency.leases("e") == 1)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert it.residency.leases("e") == 0


@in_loop
async def test_quiet_waits_until_no_user_request_runs(tmp_path: Path) -> None:
    users = 1
    background = Background(lambda: users)
    waiting = asyncio.create_task(background.quiet())
    done, _ = await asyncio.wait([waiting], timeout=0.4)
    assert not done
    users = 0
    await waiting
    assert background.idle()
