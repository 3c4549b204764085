"""The composition root: if any step of opening or closing a hub fails, nothing stays open and the next hub starts."""

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from llmctld import app
from llmctld.storage.lock import lock

from llmctl import wire
from llmctl.config import Cache, Config, Prefetch
from llmctl.errors import LlmctlError, Storage
from llmctl.paths import Paths, find_paths, make_private
from tests.hub.scene import Dealer, children, in_loop, until

CONFIG = Config(cache=Cache(prefetch=Prefetch(enabled=True)))


class Fault(Exception):
    """The error raised by these tests."""


@dataclass
class Plan:
    """At which step of opening or closing the fault happens; `steps`: those of the last hub."""

    opening: int | None = None
    closing: int | None = None
    steps: list[str] = field(default_factory=list)


def faulty(plan: Plan) -> type[AsyncExitStack]:
    """An exit stack that raises after step `plan.opening` was entered or step `plan.closing` was exited."""

    class Faulty(AsyncExitStack):
        def callback(self, close: Callable[..., object], /, *args: Any, **kwargs: Any) -> Any:
            async def closing() -> None:
                close(*args, **kwargs)

            return self._step(close, closing)

        def push_async_callback(self, close: Callable[..., Awaitable[object]], /, *args: Any, **kwargs: Any) -> Any:
            async def closing() -> None:
                await close(*args, **kwargs)

            return self._step(close, closing)

        def _step(self, close: Callable[..., object], closing: Callable[[], Awaitable[None]]) -> Any:
            number = len(plan.steps)
            plan.steps.append(getattr(close, "__qualname__", str(close)))

            async def run() -> None:
                await closing()
                if number == plan.closing:
                    raise Fault

            super().push_async_callback(run)
            if number == plan.opening:
                raise Fault
            return close

    return Faulty


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path / "home"))
    found = find_paths()
    for folder in (found.run, found.state, found.logs, found.cache, found.models):
        make_private(folder)
    return found


def standing() -> tuple[list[str], list[str], list[int]]:
    """What this process has open: files and sockets, threads, children."""
    gc.collect()
    gc.freeze()  # what is left now need not be looked at the next time
    files = []
    for name in os.listdir("/proc/self/fd"):
        try:
            files.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    threads = [thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    return sorted(files), sorted(threads), [child.pid for child in children()]


async def a_hub(paths: Paths, use: Callable[[Dealer], Awaitable[None]] | None = None) -> None:
    """Runs a hub to its end. Raises what it raises."""
    ready, tell = os.pipe()
    starter = app.Starter(tell)
    with lock(paths):
        running = asyncio.create_task(app.run(paths, CONFIG, starter))
        try:
            await until(lambda: running.done() or paths.hub_info.exists())
            if not running.done():
                dealer = Dealer(paths.socket)
                try:
                    if use is not None:
                        await use(dealer)
                    await dealer.send(wire.Stop(timeout=0.0))
                    await asyncio.wait([running])
                finally:
                    dealer.vanish()
        finally:
            running.cancel()  # a hub that does not end fails its test instead of holding up all others
            await asyncio.wait([running])
            starter.tell("nothing")
            told = os.read(ready, 1000)
            os.close(ready)
            if paths.hub_info.exists():  # as the next hub finds it
                paths.hub_info.unlink()
        running.result()
        assert msgspec.json.decode(told) == {"pid": os.getpid()}


async def ask(dealer: Dealer) -> None:
    """Uses an engine, the history and every level of the cache."""
    await dealer.ask(wire.AddModel(name="e", target="echo", force=True))
    final = await dealer.ask(wire.Generate(prompt="why?", model="e", temperature=0.0, cache="refresh"))
    assert isinstance(final, wire.Done), final


async def ask_again(dealer: Dealer) -> None:
    final = await dealer.ask(wire.Generate(prompt="why?", model="e", temperature=0.0))
    assert isinstance(final, wire.Done), final
    assert isinstance(final.result, wire.Answer)
    assert final.result.cache.hit == "disk", "what was stored before is still there"


@in_loop
async def test_a_hub_that_fails_at_any_step_of_opening_or_closing_leaves_nothing_open(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan()
    monkeypatch.setattr(app, "AsyncExitStack", faulty(plan))
    await a_hub(paths, ask)
    before, steps = standing(), plan.steps
    assert len(steps) >= 13, steps
    for number, name in enumerate(steps):
        for where in ("opening", "closing"):
            plan.opening, plan.closing, plan.steps = None, None, []
            setattr(plan, where, number)
            with pytest.raises(Fault):
                await a_hub(paths, ask)
            assert plan.steps == (steps[: number + 1] if where == "opening" else steps)
            assert standing() == before, f"{where}: {name}"
            assert not paths.socket.exists(), f"{where}: {name}"
    plan.opening, plan.closing = None, None
    await a_hub(paths, ask_again)
    assert standing() == before


@in_loop
async def test_a_socket_that_cannot_be_bound_closes_what_was_opened_before(paths: Paths) -> None:
    await a_hub(paths)
    before = standing()
    (paths.socket / "in the way").mkdir(parents=True)
    with pytest.raises(Storage, match=r"cannot listen at .*hub\.sock: Is a directory"):
        await a_hub(paths)
    assert standing() == before


@in_loop
async def test_a_hub_that_cannot_be_announced_closes_everything(paths: Paths) -> None:
    before = standing()
    (paths.hub_info / "in the way").mkdir(parents=True)
    with pytest.raises(LlmctlError, match=r"cannot write .*hub\.json: Is a directory"):
        await app.run(paths, CONFIG, app.Starter(None))
    assert standing() == before


def test_starter_pipe_gets_one_line_and_later_lines_go_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "other"
    reader, writer = os.pipe()
    starter = app.Starter(writer)
    starter.tell({"pid": 1})
    other = os.open(path, os.O_RDWR | os.O_CREAT)
    assert other == writer, "the file descriptor is reused by another file"
    starter.tell({"error": "late"})
    os.close(other)
    with open(reader, "rb") as told:
        assert told.read() == b'{"pid":1}\n'
    assert path.read_bytes() == b""
