"""Which models are loaded: once however many ask, never taken from under a request, and new when the model is."""

import asyncio
from pathlib import Path

import psutil
import pytest
from llmctld.models.residency import Residency
from llmctld.models.worker import ChatMessage, Submit, Worker

from llmctl.errors import ModelUnavailable
from tests.hub.scene import at_once, engines, in_loop, until


@in_loop
async def test_a_model_is_loaded_once_however_many_ask(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}, f={}) as (catalog, residency):
        entry = catalog.find("e")
        assert not residency.is_loaded(entry)
        loads = [asyncio.create_task(residency.load(entry)) for _ in range(5)]
        await asyncio.sleep(0)
        assert [line.state for line in residency.statuses()] == ["loading"]
        workers = await asyncio.gather(*loads)
        assert len({worker.pid for worker in workers}) == 1
        assert residency.names == ["e"]
        (line,) = residency.statuses()
        assert (line.name, line.backend, line.state, line.pid) == ("e", "echo", "ready", workers[0].pid)
        await residency.load(catalog.find("f"))
        assert residency.names == ["e", "f"]
    assert not psutil.Process().children()


@in_loop
async def test_a_load_goes_on_when_one_who_waits_leaves(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency):
        first, second = (asyncio.create_task(residency.load(catalog.find("e"))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).loaded is not None


@in_loop
async def test_a_load_that_failed_is_tried_again_by_the_next(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"fail": "load"}) as (catalog, residency):
        loads = [asyncio.create_task(residency.load(catalog.find("e"))) for _ in range(3)]
        errors = await asyncio.gather(*loads, return_exceptions=True)
        assert all(isinstance(error, ModelUnavailable) for error in errors)
        assert residency.statuses() == []
        catalog.add("e", "echo", [], {}, True)
        assert (await residency.load(catalog.find("e"))).loaded is not None


@in_loop
async def test_a_model_that_is_in_use_is_unloaded_when_it_serves_nobody(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency):
        entry = catalog.find("e")
        async with residency.lease(entry) as worker:
            unloading = asyncio.create_task(residency.unload("e"))
            await asyncio.sleep(0.02)
            assert not unloading.done()
            later = asyncio.create_task(residency.load(entry))
            ticket = worker.submit(Submit(id=0, messages=[ChatMessage("user", "still here")], max_tokens=99))
            assert "".join([piece.text async for piece in ticket]) == "still here"
        await unloading
        assert (await later).pid != worker.pid, "who comes later gets the next one"
        await residency.unload("e")
        assert residency.names == []
        with pytest.raises(ModelUnavailable, match="not loaded"):
            await residency.unload("e")


@in_loop
async def test_an_unload_that_is_given_up_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency), residency.lease(catalog.find("e")) as worker:
        unloading = asyncio.create_task(residency.unload("e"))
        await asyncio.sleep(0.01)
        unloading.cancel()
        await asyncio.wait([unloading])
        assert await residency.load(catalog.find("e")) is worker


@in_loop
async def test_an_engine_that_died_is_replaced(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency):
        worker = await residency.load(catalog.find("e"))
        assert isinstance(worker, Worker)
        worker.kill()
        await worker.ended.wait()
        assert residency.statuses() == []
        assert (await residency.load(catalog.find("e"))).pid != worker.pid


@in_loop
async def test_new_settings_of_a_model_reach_its_engine(tmp_path: Path) -> None:
    """The key of an answer says that they do."""
    async with engines(tmp_path, e={"slots": "2"}) as (catalog, residency):
        before = await residency.load(catalog.find("e"))
        catalog.add("e", "echo", [], {"slots": "3"}, True)
        after = await residency.load(catalog.find("e"))
        assert after.loaded is not None
        assert after.loaded.slots == 3
        assert before.ended.is_set()


@in_loop
async def test_a_model_that_is_removed_while_it_loads_can_still_be_seen(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency):
        load = asyncio.create_task(residency.load(catalog.find("e")))
        await asyncio.sleep(0)
        catalog.remove("e")
        assert [line.name for line in residency.statuses()] == ["e"]
        await load


def loading_pid(residency: Residency) -> int:
    """Of the engine that is on its way; 0 while there is no process yet."""
    return max((line.pid for line in residency.statuses() if line.state == "loading"), default=0)


@in_loop
async def test_closing_ends_what_is_loaded_and_what_is_loading(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}, f={}) as (catalog, residency):
        await residency.load(catalog.find("e"))
        loading = asyncio.create_task(residency.load(catalog.find("f")))
        await at_once(lambda: loading_pid(residency))
    with pytest.raises(ModelUnavailable, match="the loading of f was ended"):
        await loading
    await until(lambda: not psutil.Process().children())


@in_loop
async def test_a_load_can_be_ended(tmp_path: Path) -> None:
    """One that takes too long, or too much: whoever waits for it is told, and the next request loads anew."""
    async with engines(tmp_path, e={}) as (catalog, residency):
        loading = asyncio.create_task(residency.load(catalog.find("e")))
        await at_once(lambda: loading_pid(residency))
        assert residency.statuses()[0].state == "loading"
        await residency.unload("e")
        with pytest.raises(ModelUnavailable, match="the loading of e was ended"):
            await loading
        assert residency.statuses() == []
        assert (await residency.load(catalog.find("e"))).pid > 0
