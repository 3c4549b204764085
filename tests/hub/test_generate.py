"""The innermost stage, with real echo engines: a bounded queue, one retry, and no slot left busy."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from llmctld.call.call import Call
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.engines.ticket import ChatMessage
from llmctld.models.engines.worker import Worker
from llmctld.models.running.residency import Residency
from llmctld.pipeline.compute import generate
from llmctld.pipeline.compute.generate import Generator

from llmctl.errors import Busy, EngineFailed, InvalidRequest
from llmctl.wire import Answer, Notice
from tests.hub.scene import a_call, answer_of, engines, events_of, in_loop, text_of, until


def ask(catalog: Catalog, text: str, **fields: object) -> Call:
    call = a_call(prompt=text, **fields)
    call.model = catalog.find("e")
    call.messages = [ChatMessage("user", text)]
    return call


async def idle(residency: Residency) -> None:
    """No lease, no busy slot."""
    worker = residency._pool.models["e"].replicas[0].worker
    assert worker.unused.is_set()
    await until(lambda: worker.busy == 0)


@in_loop
async def test_answer_has_usage_and_timings(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"token_ms": "2"}) as (catalog, residency):
        stage = Generator(residency, catalog, 8)
        first = await events_of(stage, ask(catalog, "hello"))
        assert first[0] == Notice(text="loading e")
        answer = first[-1]
        assert isinstance(answer, Answer)
        assert text_of(first) == answer.text == "hello"
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.finish_reason) == (5, 6, "stop")
        timings = answer.timings
        assert 0 < timings.load_ms < timings.total_ms
        assert 8 <= timings.decode_ms <= timings.total_ms
        second = await events_of(stage, ask(catalog, "hello", max_tokens=2))
        assert not any(isinstance(event, Notice) for event in second)
        answer = second[-1]
        assert isinstance(answer, Answer)
        assert (answer.text, answer.finish_reason, answer.timings.load_ms) == ("he", "length", 0.0)
        await idle(residency)


@in_loop
async def test_request_beyond_slots_and_queue_is_refused_immediately(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"slots": "2", "token_ms": "5"}) as (catalog, residency):
        stage = Generator(residency, catalog, 3)
        tasks = [asyncio.create_task(answer_of(stage, ask(catalog, f"question {n}"))) for n in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 requests running, 3 waiting"):
            await answer_of(stage, ask(catalog, "one too many"))
        assert [answer.text for answer in await asyncio.gather(*tasks)] == [f"question {n}" for n in range(5)]
        assert (await answer_of(stage, ask(catalog, "now there is room"))).text == "now there is room"
        await idle(residency)


@in_loop
async def test_queue_places_are_released_however_a_request_ends(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"slots": "1", "context": "20"}) as (catalog, residency):
        stage = Generator(residency, catalog, 0)
        for _ in range(3):
            with pytest.raises(InvalidRequest):
                await answer_of(stage, ask(catalog, "x" * 21))
            call = ask(catalog, "x", ignore_eos=True)
            task = asyncio.create_task(answer_of(stage, call))
            await until(lambda call=call: bool(call.work.text))  # type: ignore[misc]
            task.cancel()
            await asyncio.wait([task])
            await idle(residency)
        assert (await answer_of(stage, ask(catalog, "fine"))).text == "fine"


@in_loop
async def test_cancel_frees_the_slot_and_records_usage(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"token_ms": "50"}) as (catalog, residency):
        call = ask(catalog, "abc", ignore_eos=True, max_tokens=5000)
        task = asyncio.create_task(answer_of(Generator(residency, catalog, 8), call))
        await until(lambda: len(call.work.text) > 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.work.usage.prompt_tokens == 3
        assert call.work.usage.completion_tokens >= len(call.work.text)
        await idle(residency)


@in_loop
async def test_text_that_the_engine_had_not_told_yet_is_part_of_a_cancelled_answer(tmp_path: Path) -> None:
    """Twice a second is often enough for text that nobody sees, but not for the last of it."""
    async with engines(tmp_path, e={"token_ms": "5"}) as (catalog, residency):
        call = ask(catalog, "abc", ignore_eos=True, max_tokens=5000, stream=False)
        task = asyncio.create_task(answer_of(Generator(residency, catalog, 8), call))
        await until(lambda: bool(call.work.text))
        told = len(call.work.text)
        await until(lambda: len(call.work.text) > told)
        task.cancel()
        await asyncio.wait([task])
        assert len(call.work.text) == call.work.usage.completion_tokens


@in_loop
async def test_request_ends_although_its_engine_stands_still_and_the_lease_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "CONFIRM_S", 0.01)
    async with engines(tmp_path, e={"token_ms": "5"}) as (catalog, residency):
        stage, call = Generator(residency, catalog, 8), ask(catalog, "abc", ignore_eos=True, max_tokens=5000)
        worker = await residency.load(catalog.find("e"))
        assert isinstance(worker, Worker)
        task = asyncio.create_task(events_of(stage, call))
        await until(lambda: len(call.work.text) > 5)
        os.kill(worker.pid, signal.SIGSTOP)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert residency.leases("e") == 1, "the engine may still compute it"
        os.kill(worker.pid, signal.SIGCONT)
        await until(lambda: not residency.leases("e"))
        await idle(residency)


@in_loop
async def test_closing_the_event_stream_releases_the_model_immediately(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"token_ms": "2"}) as (catalog, residency):
        events = Generator(residency, catalog, 8)(ask(catalog, "abc", ignore_eos=True, max_tokens=5000))
        async for event in events:
            if not isinstance(event, Notice):
                break
        await events.aclose()
        await idle(residency)


@in_loop
async def test_engine_crash_before_the_first_token_is_retried(tmp_path: Path) -> None:
    async with engines(tmp_path, e={}) as (catalog, residency):
        stage = Generator(residency, catalog, 8)
        worker = await residency.load(catalog.find("e"))
        assert isinstance(worker, Worker)
        os.kill(pid := worker.pid, signal.SIGSTOP)
        task = asyncio.create_task(answer_of(stage, ask(catalog, "hello")))
        await until(lambda: bool(worker._tickets))
        os.kill(pid, signal.SIGKILL)
        assert (await task).text == "hello"
        assert residency._pool.models["e"].replicas[0].worker.pid != pid


@in_loop
async def test_second_engine_crash_is_an_error(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"first_ms": "600000"}) as (catalog, residency):
        call = ask(catalog, "hello")
        task = asyncio.create_task(answer_of(Generator(residency, catalog, 8), call))
        killed = {0}
        for _ in range(2):
            await until(lambda: {line.pid for line in residency.statuses() if line.busy} - killed != set())
            killed.add(residency.statuses()[0].pid)
            os.kill(residency.statuses()[0].pid, signal.SIGKILL)
        with pytest.raises(EngineFailed, match="SIGKILL"):
            await task
        assert not {child.pid for child in psutil.Process().children()} & killed


@in_loop
async def test_engine_crash_after_a_token_is_not_retried(tmp_path: Path) -> None:
    """The user has already seen part of it, and a new answer could not continue that part."""
    async with engines(tmp_path, e={"fail": "crash", "token_ms": "20"}) as (catalog, residency):
        call = ask(catalog, "hello", stream=True)
        with pytest.raises(EngineFailed, match="134"):
            await answer_of(Generator(residency, catalog, 8), call)
        assert call.work.text in ("h", "he"), "a piece that comes soon after another is held back for a moment"
        assert residency.statuses() == [], "no second engine was started"


@in_loop
async def test_request_options_override_model_settings_and_defaults(tmp_path: Path) -> None:
    async with engines(tmp_path, e={"temperature": "0.3", "top_k": "7"}) as (catalog, residency):
        stage = Generator(residency, catalog, 8)
        submit = stage._submission(ask(catalog, "x", temperature=0.0, seed=1, stop=["y"]), catalog.find("e"))
        assert (submit.temperature, submit.top_k, submit.top_p) == (0.0, 7, None)
        assert (submit.seed, submit.stop, submit.max_tokens) == (1, ["y"], 2048)
