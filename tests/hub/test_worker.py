"""The handle on a real engine process: its messages arrive, and its death is reported to all waiters."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from llmctld.models.engines.ladder import FileKind, Ladder
from llmctld.models.engines.ticket import ChatMessage, Load, Submit, Ticket
from llmctld.models.engines.worker import Worker

from llmctl.errors import EngineFailed, InvalidRequest, ModelUnavailable
from tests.hub.scene import at_once, children, in_loop, until


@asynccontextmanager
async def an_engine(folder: Path, **settings: Any) -> AsyncIterator[Worker]:
    load = Load(name="e", backend="echo", path="echo", threads=1, memory_bytes=2**30, **settings)
    worker = Worker(load, folder)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


def question(text: str, **more: Any) -> Submit:
    return Submit(id=0, messages=[ChatMessage("user", text)], **{"max_tokens": 100, **more})


async def heard(ticket: Ticket) -> str:
    return "".join([piece.text async for piece in ticket])


@in_loop
async def test_each_request_gets_its_own_answer(tmp_path: Path) -> None:
    async with an_engine(tmp_path) as worker:
        texts = [f"question {number}" for number in range(10)]
        assert await asyncio.gather(*(heard(worker.submit(question(text))) for text in texts)) == texts
        ticket = worker.submit(question("hello", max_tokens=2))
        assert await heard(ticket) == "he"
        assert ticket.finished is not None
        assert (ticket.finished.reason, ticket.finished.completion_tokens) == ("length", 2)
        assert worker.memory_bytes > 2**20


@in_loop
async def test_a_refusal_of_the_engine_is_raised_under_its_code(tmp_path: Path) -> None:
    async with an_engine(tmp_path, context=8) as worker:
        with pytest.raises(InvalidRequest, match="9"):
            await heard(worker.submit(question("123456789")))
        assert await heard(worker.submit(question("fine", max_tokens=4))) == "fine", "and the engine goes on"


@in_loop
async def test_busy_follows_the_reports_of_the_engine(tmp_path: Path) -> None:
    async with an_engine(tmp_path, token_ms=1000) as worker:
        ticket = worker.submit(question("a long question", max_tokens=100, ignore_eos=True))
        assert worker.busy == 0
        await anext(aiter(ticket))
        assert worker.busy == 1
        await ticket.drop()
        assert ticket.finished is not None
        assert ticket.finished.reason == "cancelled"
        await until(lambda: worker.busy == 0)
        assert not worker.drop(1), "it has ended already"


@in_loop
async def test_all_open_requests_fail_when_the_process_dies(tmp_path: Path) -> None:
    async with an_engine(tmp_path, first_ms=600_000) as worker:
        waiting = [asyncio.create_task(heard(worker.submit(question("x")))) for _ in range(3)]
        await asyncio.sleep(0)
        os.kill(worker.pid, signal.SIGKILL)
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, EngineFailed)
            assert "SIGKILL" in error.message
        await worker.ended.wait()
        with pytest.raises(EngineFailed):
            worker.submit(question("x"))
        assert worker.memory_bytes == 0
        assert not psutil.pid_exists(worker.pid), "it is no zombie"


@in_loop
async def test_a_crash_of_the_engine_reports_how_it_ended(tmp_path: Path) -> None:
    async with an_engine(tmp_path, fail="crash") as worker:
        with pytest.raises(EngineFailed, match="exit status 134"):
            await heard(worker.submit(question("hello")))


@in_loop
async def test_a_failed_load_is_reported_in_the_engine_s_words(tmp_path: Path) -> None:
    for settings, words in (({"fail": "load"}, "set to fail"), ({"backend": "llama.cpp", "path": "none.gguf"}, "none")):
        load: Any = {"name": "e", "backend": "echo", "path": "echo", "threads": 1, "memory_bytes": 2**30, **settings}
        worker = Worker(Load(**load), tmp_path)
        with pytest.raises(ModelUnavailable, match=words):
            await worker.start()
        await until(lambda: not children())  # ended, and reaped


@in_loop
async def test_an_engine_that_dies_while_loading_points_to_its_log(tmp_path: Path) -> None:
    load = Load(name="e", backend="echo", path="echo", threads=1, memory_bytes=2**30)
    worker = Worker(load, tmp_path)
    starting = asyncio.create_task(worker.start())
    await at_once(lambda: worker.pid)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(ModelUnavailable, match="SIGKILL") as caught:
        await starting
    assert "engine-e.log" in caught.value.hint


@in_loop
async def test_a_cancelled_load_leaves_no_process(tmp_path: Path) -> None:
    worker = Worker(Load(name="e", backend="echo", path="echo", threads=1, memory_bytes=2**30), tmp_path)
    starting = asyncio.create_task(worker.start())
    await at_once(lambda: worker.pid)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await until(lambda: not children())


@in_loop
async def test_a_file_that_changes_during_a_load_is_named_and_no_rung_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" * 1000)
    ladder = Ladder(tmp_path / "rungs.json")
    descent = ladder.descent("m", "one", FileKind("F32"), [path])
    os.truncate(path, 10)
    monkeypatch.setenv("LLMCTL_ENGINE_CRASH", "SIGBUS@load:*")
    load = Load(name="m", backend="llama.cpp", path=str(path), threads=1, memory_bytes=2**30)
    with pytest.raises(ModelUnavailable, match=f"{path} had 4000 bytes when it was loaded and has 10 now"):
        await Worker(load, tmp_path, descent).start()
    assert not (tmp_path / "rungs.json").exists()
    assert ladder.descent("m", "one", FileKind("F32"), [path]).rung.name == "as it is"


@in_loop
async def test_a_library_that_runs_out_of_memory_does_not_count_as_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log lines are those of another process here, written between start and end of the engine."""
    words = "CUDA error: out of memory"
    ladder = Ladder(tmp_path / "rungs.json")
    monkeypatch.setenv("LLMCTL_ENGINE_CRASH", "SIGABRT@load:*")
    load = Load(name="m", backend="llama.cpp", path="m.gguf", threads=1, memory_bytes=2**30)
    worker = Worker(load, tmp_path, ladder.descent("m", "one", FileKind("F32"), []))
    (tmp_path / "engine-m.log").write_text("std::bad_alloc of another time\n")
    starting = asyncio.create_task(worker.start())
    await at_once(lambda: worker.pid)
    with (tmp_path / "engine-m.log").open("a") as file:
        file.write(f"{words}\n")
    with pytest.raises(ModelUnavailable, match=f"does not fit in memory: llama.cpp says '{words}'"):
        await starting
    assert not (tmp_path / "rungs.json").exists()
