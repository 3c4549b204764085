"""Loaded models: loaded once for concurrent requests, never unloaded while in use, reloaded when changed."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from llmctld.models.engines.ticket import ChatMessage, Piece, RequestRecalled, Submit
from llmctld.models.engines.worker import Worker
from llmctld.models.running.residency import Residency

from llmctl.config import Config, Duration, Limits, ModelEntry, Resources, Size
from llmctl.errors import InvalidRequest, ModelUnavailable
from tests.hub.scene import at_once, children, engines, in_loop, until


@in_loop
async def test_concurrent_requests_load_a_model_once(tmp_path: Path) -> None:
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
    assert not children()


@in_loop
async def test_a_load_continues_when_one_waiter_leaves(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency):
        first, second = (asyncio.create_task(residency.load(catalog.find("e"))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).loaded is not None


@in_loop
async def test_a_failed_load_is_retried_by_the_next_request(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"fail": "load"}) as (catalog, residency):
        loads = [asyncio.create_task(residency.load(catalog.find("e"))) for _ in range(3)]
        errors = await asyncio.gather(*loads, return_exceptions=True)
        assert all(isinstance(error, ModelUnavailable) for error in errors)
        assert residency.statuses() == []
        catalog.add("e", "echo", [], {}, True)
        assert (await residency.load(catalog.find("e"))).loaded is not None


@in_loop
async def test_unloading_a_busy_model_waits_until_it_is_idle(tmp_path: Path) -> None:
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
async def test_a_cancelled_unload_leaves_the_model_loaded(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency), residency.lease(catalog.find("e")) as worker:
        unloading = asyncio.create_task(residency.unload("e"))
        await asyncio.sleep(0.01)
        unloading.cancel()
        await asyncio.wait([unloading])
        assert await residency.load(catalog.find("e")) is worker


@in_loop
async def test_a_dead_engine_is_replaced(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency):
        worker = await residency.load(catalog.find("e"))
        assert isinstance(worker, Worker)
        worker.kill()
        await worker.ended.wait()
        assert residency.statuses() == []
        assert (await residency.load(catalog.find("e"))).pid != worker.pid


@in_loop
async def test_changed_settings_reach_the_engine(tmp_path: Path) -> None:
    """The cache key of an answer assumes that they do."""
    async with engines(tmp_path, e={"slots": "2"}) as (catalog, residency):
        before = await residency.load(catalog.find("e"))
        catalog.add("e", "echo", [], {"slots": "3"}, True)
        after = await residency.load(catalog.find("e"))
        assert after.loaded is not None
        assert after.loaded.slots == 3
        assert before.ended.is_set()


@in_loop
async def test_a_model_removed_while_loading_is_still_listed(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency):
        load = asyncio.create_task(residency.load(catalog.find("e")))
        await asyncio.sleep(0)
        catalog.remove("e")
        assert [line.name for line in residency.statuses()] == ["e"]
        await load


def loading_pid(residency: Residency) -> int:
    """The pid of the engine that is starting; 0 while there is no process yet."""
    return max((line.pid for line in residency.statuses() if line.state == "loading"), default=0)


@in_loop
async def test_closing_ends_loaded_and_loading_engines(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}, f={}) as (catalog, residency):
        await residency.load(catalog.find("e"))
        loading = asyncio.create_task(residency.load(catalog.find("f")))
        await at_once(lambda: loading_pid(residency))
    with pytest.raises(ModelUnavailable, match="the loading of f was cancelled"):
        await loading
    await until(lambda: not children())


@in_loop
async def test_a_running_load_can_be_ended_and_its_waiters_are_told(tmp_path: Path) -> None:
    """For a load that takes too long or too much memory: its waiters get an error, and the next request loads again."""
    async with engines(tmp_path, e={}) as (catalog, residency):
        loading = asyncio.create_task(residency.load(catalog.find("e")))
        await at_once(lambda: loading_pid(residency))
        assert residency.statuses()[0].state == "loading"
        await residency.unload("e")
        with pytest.raises(ModelUnavailable, match="the loading of e was cancelled"):
            await loading
        assert residency.statuses() == []
        assert (await residency.load(catalog.find("e"))).pid > 0


# ---- room for some of them ------------------------------------------------------------------------------------------

MIB = 2**20
SMALL = {"takes": "1M"}


def two_fit(max_wait: float = 20.0) -> Config:
    return Config(limits=Limits(memory_bytes=Size(2 * MIB)), resources=Resources(max_wait=Duration(max_wait)))


async def say(residency: Residency, entry: ModelEntry, text: str) -> str:
    """What a model says, asked as the pipeline does it."""
    while True:
        async with residency.lease(entry, text) as worker:
            ticket = worker.submit(Submit(id=0, messages=[ChatMessage("user", text)], max_tokens=99))
            try:
                return "".join([piece.text async for piece in ticket if isinstance(piece, Piece)])
            except RequestRecalled:
                continue


@in_loop
async def test_the_least_used_model_is_evicted(tmp_path: Path) -> None:
    async with engines(tmp_path, two_fit(), a=SMALL, b=SMALL, c=SMALL) as (catalog, residency):
        for name in ("a", "b"):
            await say(residency, catalog.find(name), "x")
        for replica in residency._pool.replicas():
            replica.load_s = 1.0  # their load times differ by chance
        await say(residency, catalog.find("a"), "x")
        assert residency.wait_notice(catalog.find("c")) == "loading c, unloading b for it"
        await say(residency, catalog.find("c"), "x")
        assert residency.names == ["a", "c"]


@in_loop
async def test_a_burst_over_three_models_takes_three_loads(tmp_path: Path) -> None:
    """A B A A C A B C, with room for one."""
    config = Config(limits=Limits(memory_bytes=Size(MIB)))
    async with engines(tmp_path, config, A=SMALL, B=SMALL, C=SMALL) as (catalog, residency):
        said = await asyncio.gather(*(say(residency, catalog.find(name), f"{name}!") for name in "ABAACABC"))
        assert said == [f"{name}!" for name in "ABAACABC"]
        assert residency._pool.loads == 3


@in_loop
async def test_a_busy_model_is_evicted_only_after_max_wait(tmp_path: Path) -> None:
    config = Config(limits=Limits(memory_bytes=Size(MIB)), resources=Resources(max_wait=Duration(0.3)))
    async with engines(tmp_path, config, a=SMALL, b=SMALL) as (catalog, residency):
        a, b = catalog.find("a"), catalog.find("b")
        async with residency.lease(a):
            assert residency.wait_notice(b) == "b waits for 1.0 MiB of memory: a is busy"
            other = asyncio.create_task(say(residency, b, "b"))
            await asyncio.sleep(0)
            async with residency.lease(a):
                assert residency.is_loaded(a), "others go on joining it"
            await until(lambda: not residency.is_loaded(a))
            late = asyncio.create_task(say(residency, a, "a"))
            assert [line.state for line in residency.statuses()] == ["leaving"]
        assert await other == "b"
        assert await late == "a"
        assert residency._pool.loads == 3


@in_loop
async def test_unstarted_requests_are_recalled_and_answered_later(tmp_path: Path) -> None:
    """A thousand queued requests of one model delay another model no longer than its running ones do."""
    config = Config(limits=Limits(memory_bytes=Size(MIB)), resources=Resources(max_wait=Duration(0.2)))
    slow = {"slots": "1", "token_ms": "20"} | SMALL
    async with engines(tmp_path, config, a=slow, b=SMALL) as (catalog, residency):
        a, b = catalog.find("a"), catalog.find("b")
        order: list[str] = []

        async def ask(entry: ModelEntry, text: str) -> None:
            assert await say(residency, entry, text) == text
            order.append(text)

        worker = await residency.load(a)
        os.kill(worker.pid, signal.SIGSTOP)  # until it is told to make room; then at most one has begun
        queue = [asyncio.create_task(ask(a, f"question {number}")) for number in range(10)]
        await until(lambda: residency.leases("a") == len(queue))
        other = asyncio.create_task(ask(b, "b"))
        await until(lambda: not residency.is_loaded(a))
        os.kill(worker.pid, signal.SIGCONT)
        await other
        assert len(order) < len(queue), "b is answered while requests of a still wait"
        await asyncio.gather(*queue)
        assert residency._pool.loads == 3


@in_loop
async def test_a_pinned_model_stays_and_the_error_states_the_missing_memory(tmp_path: Path) -> None:
    async with engines(tmp_path, two_fit(), a=SMALL | {"pin": "true"}, b=SMALL, c={"takes": "2M"}) as (
        catalog,
        residency,
    ):
        for name in ("a", "b"):
            await residency.load(catalog.find(name))
        with pytest.raises(ModelUnavailable) as caught:
            await residency.load(catalog.find("c"))
        assert caught.value.message == (
            "the weights of c need 2.0 MiB, but all models together may use 2.0 MiB, of which a uses 1.0 MiB (pinned): "
            "1.0 MiB are missing, even if b (1.0 MiB) is unloaded"
        )
        assert residency.names == ["a", "b"]


@in_loop
async def test_a_cancelled_waiter_keeps_no_lease(tmp_path: Path) -> None:
    async with engines(tmp_path, two_fit(), a=SMALL, b=SMALL, c=SMALL) as (catalog, residency):
        for name in ("a", "b"):
            await residency.load(catalog.find(name))
        async with residency.lease(catalog.find("a")), residency.lease(catalog.find("b")):
            waits = asyncio.create_task(say(residency, catalog.find("c"), "c"))
            await asyncio.sleep(0)
            waits.cancel()
            await asyncio.wait([waits])
        assert residency.names == ["a", "b"]
        assert residency._pool.loads == 2
        assert all(replica.worker.unused.is_set() for replica in residency._pool.replicas())


# ---- how long they stay ---------------------------------------------------------------------------------------------


@in_loop
async def test_an_unused_model_is_unloaded_after_its_keep_alive(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"keep_alive": "0"}, f={"keep_alive": "-1"}, g={}) as (catalog, residency):
        for name in ("e", "f", "g"):
            await say(residency, catalog.find(name), "x")
        await until(lambda: residency.names == ["f", "g"])
        until_ = {line.name: line.until for line in residency.statuses()}
        assert until_["f"] is None
        assert until_["g"] is not None
        async with residency.lease(catalog.find("g"), keep_alive=0):
            assert [line.until for line in residency.statuses()] == [None, None], "not while it serves"
        await until(lambda: residency.names == ["f"])


# ---- replicas -------------------------------------------------------------------------------------------------------


@in_loop
async def test_replicas_share_the_requests(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"slots": "2"}) as (catalog, residency):
        entry = catalog.find("e")
        await residency.load(entry, 2)
        assert [(line.name, line.replica) for line in residency.statuses()] == [("e", 0), ("e", 1)]
        assert residency.slots(entry) == 4
        async with residency.lease(entry) as one, residency.lease(entry) as other:
            assert one is not other
        await residency.load(entry, 1)
        await until(lambda: len(residency.statuses()) == 1)
        assert residency.statuses()[0].replica == 0
        await residency.unload("e")
        await residency.load(entry)
        assert len(residency.statuses()) == 1


@in_loop
async def test_there_are_at_most_max_replicas(tmp_path: Path) -> None:
    config = Config(resources=Resources(max_replicas=2))
    async with engines(tmp_path, config, e={}) as (catalog, residency):
        for wanted in (0, 3):
            with pytest.raises(InvalidRequest, match=f"replicas is {wanted}; it must be between 1 and 2"):
                await residency.load(catalog.find("e"), wanted)


@in_loop
async def test_a_dead_replica_is_restarted(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency):
        entry = catalog.find("e")
        worker = await residency.load(entry, 2)
        assert isinstance(worker, Worker)
        worker.kill()
        await worker.ended.wait()
        assert await say(residency, entry, "still here") == "still here"
        await until(lambda: len([line for line in residency.statuses() if line.state == "ready"]) == 2)


@in_loop
async def test_a_replica_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    config = Config(limits=Limits(memory_bytes=Size(2 * MIB)), resources=Resources(max_replicas=3))
    async with engines(tmp_path, config, e=SMALL) as (catalog, residency):
        with pytest.raises(ModelUnavailable, match=r"e is set to take 1.0 MiB, but only 0.0 MiB are free"):
            await residency.load(catalog.find("e"), 3)
        await until(lambda: [line.state for line in residency.statuses()] == ["ready", "ready"])
        assert await say(residency, catalog.find("e"), "x") == "x"


@in_loop
async def test_remaining_time_of_a_model_does_not_follow_a_clock_that_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency):
        entry = catalog.find("e")
        async with residency.lease(entry, keep_alive=3600.0):
            pass
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 20 * 365 * 86_400.0)
        left = residency.remaining(entry)
        assert left is not None
        assert 0 < left <= 3600.0
