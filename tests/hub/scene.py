"""What the hub's tests are made of: a loop for each test, calls, last stages that play a part, and a client of the socket."""

import asyncio
import functools
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec

import psutil
import zmq
import zmq.asyncio
from gguf import GGUFWriter
from llmctld.app import build_semantic
from llmctld.cache.entries.book import Book
from llmctld.cache.eviction import POLICIES
from llmctld.cache.level import Stored
from llmctld.cache.levels.disk import DiskLevel
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.cache.levels.memory import MemoryLevel
from llmctld.cache.levels.tiers import Tiers
from llmctld.call.call import Call, Event, Stage
from llmctld.call.origin import origin_of
from llmctld.handlers.hub import Hub
from llmctld.history import History
from llmctld.inside.background import Background
from llmctld.models.catalogue.builtin import Builtin
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.engines.ladder import Ladder
from llmctld.models.found.file_contents import FileContents
from llmctld.models.memory.estimate import Estimates
from llmctld.models.pull.pull import Puller
from llmctld.models.running.memory_budget import MemoryBudget
from llmctld.models.running.residency import Residency
from llmctld.money.spending.accounts import Accounts
from llmctld.money.spending.budgets import Budgets
from llmctld.pipeline.compute.embed import Embedding
from llmctld.requests import Requests
from llmctld.runtime.counters import Counters
from llmctld.runtime.timeouts import timeout
from llmctld.semantic.knowledge import Knowledge
from llmctld.server import Server

from llmctl import wire
from llmctl.config import Cache, Config, Limits, ModelEntry

P = ParamSpec("P")
LIMIT_S = 500.0
"""A ceiling for each test, and no measurement."""


others: set[psutil.Process] = set()
"""Children of this process that were here before the test (conftest.py)."""


def children() -> list[psutil.Process]:
    """Those that the test has started, zombies too."""
    return [child for child in psutil.Process().children() if child not in others]


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test in an event loop of its own."""

    async def limited(*args: P.args, **kwargs: P.kwargs) -> None:
        async with timeout(LIMIT_S):
            await test(*args, **kwargs)

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(limited(*args, **kwargs))

    return run


async def until(condition: Callable[[], bool]) -> None:
    """For what has no event to wait for."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def at_once(condition: Callable[[], object]) -> None:
    """Until the very turn of the loop in which it holds: nothing else can have come in between, however slow the machine."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


# ---- the pipeline ---------------------------------------------------------------------------------------------------


def a_call(**fields: Any) -> Call:
    """A call as the server makes it."""
    request = wire.Generate(**fields)
    return Call(os.urandom(wire.ID_BYTES).hex(), request, origin_of(request))


async def events_of(stage: Stage, call: Call) -> list[Event]:
    async with aclosing(stage(call)) as events:
        return [event async for event in events]


async def answer_of(stage: Stage, call: Call) -> wire.Answer:
    """The last event, which must be the one answer."""
    *others, last = await events_of(stage, call)
    assert isinstance(last, wire.Answer)
    assert not any(isinstance(event, wire.Answer) for event in others)
    return last


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, wire.Delta))


class Speaker:
    """A last stage: says `pieces`, waits for `go` when it is `held`, then answers, or raises `error`."""

    def __init__(self, *pieces: str, held: bool = False, error: Exception | None = None, reason: str = "stop") -> None:
        self._pieces, self._error, self._reason = pieces, error, reason
        self.said, self.go, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.calls: list[Call] = []
        self.cancelled = 0
        if not held:
            self.go.set()

    async def __call__(self, call: Call) -> AsyncGenerator[Event, None]:
        self.calls.append(call)
        try:
            for piece in self._pieces:
                call.work.text += piece
                call.work.usage.completion_tokens += 1
                yield wire.Delta(text=piece)
                await asyncio.sleep(0)
            self.said.set()
            await self.go.wait()
            if self._error is not None:
                raise self._error
            yield call.answer(call.work.text, None, self._reason, call.work.usage, call.work.timings)
        except (asyncio.CancelledError, GeneratorExit) as error:
            self.cancelled += isinstance(error, asyncio.CancelledError)
            raise
        finally:
            self.left.set()


# ---- the cache ------------------------------------------------------------------------------------------------------


def a_stored(text: str, model: str = "m", created: float | None = None, seconds: float = 2.0, **more: Any) -> Stored:
    answer = wire.Answer(
        id="", model=model, text=text, usage=wire.TokenUsage(1, 0, 2), timings=wire.Timings(), cache=wire.CacheUse()
    )
    return Stored([answer], time.time() if created is None else created, seconds, **more)


def a_disk(folder: Path, limit: int = 2**20, repair: bool = False, eviction: str = "lru") -> DiskLevel:
    return DiskLevel(folder, limit, POLICIES[eviction](limit), repair)


def some_tiers(
    folder: Path | None = None, memory: int = 2**20, disk: int = 2**20, ttl: float | None = 3600.0, **more: Any
) -> Tiers:
    """MemoryLevel, and a disk in `folder`/answers."""
    threads = (
        []
        if folder is None
        else [LevelThread("disk", partial(_opened, folder / "answers", disk), disk, counters=more.get("counters"))]
    )
    return Tiers(MemoryLevel(memory, POLICIES["lru"](memory)), threads, ttl, **more)


def _opened(folder: Path, limit: int, repair: bool) -> DiskLevel:
    return a_disk(folder, limit, repair)


# ---- models ---------------------------------------------------------------------------------------------------------


def some_accounts(folder: Path) -> Accounts:
    """Accounts that nobody opened; the first reservation does."""
    return Accounts(Budgets(folder / "budgets.json"), folder / "ledger.db", "USD")


def a_catalog(folder: Path, **models: dict[str, str]) -> Catalog:
    """A catalog of echo models: name=settings."""
    place = folder / "models"
    place.mkdir(exist_ok=True)
    catalog = Catalog(place, {})
    for name, settings in models.items():
        catalog.add(name, "echo", [], settings, False)
    return catalog


def with_guide(folder: Path, refusal: str = "I only know llmctl", **models: dict[str, str]) -> Catalog:
    """A catalog with echo as the built-in guide, whose file has its metadata alone."""
    file = folder / "guide.gguf"
    writer = GGUFWriter(file, "llama")
    writer.add_string("llmctl.guide.refusal", refusal)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    a_catalog(folder, **models)
    return Catalog(
        folder / "models",
        {},
        guide=ModelEntry(name="guide", target=str(file), backend="echo", settings={"takes": 2**20}),
    )


def a_residency(catalog: Catalog, folder: Path, config: Config | None = None) -> Residency:
    config = config or Config()
    supply = MemoryBudget(catalog, Estimates(catalog, folder / "measured.json"), config.limits)
    return Residency(catalog, supply, folder, folder / "prefixes", config, Ladder(folder / "rungs.json"))


@asynccontextmanager
async def engines(
    folder: Path, config: Config | None = None, **models: dict[str, str]
) -> AsyncIterator[tuple[Catalog, Residency]]:
    """Real echo engines, loaded on demand and ended at the end."""
    catalog = a_catalog(folder, **models)
    residency = a_residency(catalog, folder, config)
    try:
        yield catalog, residency
    finally:
        await residency.close()


# ---- the socket -----------------------------------------------------------------------------------------------------


class Dealer:
    """One client of the hub's socket."""

    def __init__(self, path: Path) -> None:
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(f"ipc://{path}")

    async def send_frames(self, *frames: bytes) -> None:
        await self._socket.send_multipart(frames)

    async def send(self, request: wire.Request, identity: bytes | None = None) -> bytes:
        """Sends `request` with this version's protocol number; returns its id."""
        identity = os.urandom(wire.ID_BYTES) if identity is None else identity
        request.protocol = wire.PROTOCOL
        await self.send_frames(identity, wire.encode(request))
        return identity

    async def receive(self, signs_of_life: bool = False) -> tuple[bytes, wire.AnyReply]:
        """The next reply; a Progress, which comes whenever a test takes long, only to who asks for it."""
        while True:
            identity, body = await self._socket.recv_multipart()
            reply = wire.decode_reply(body)
            if signs_of_life or not isinstance(reply, wire.Progress):
                return identity, reply

    async def replies(self, identity: bytes) -> list[wire.AnyReply]:
        """Every reply to this request but Progress, up to the final one; nothing is acknowledged."""
        found: list[wire.AnyReply] = []
        while not found or not isinstance(found[-1], wire.FINAL):
            to, reply = await self.receive()
            if to == identity:
                found.append(reply)
        return found

    async def ask(self, request: wire.Request) -> wire.AnyReply:
        """The final reply."""
        return (await self.replies(await self.send(request)))[-1]

    async def is_silent(self) -> bool:
        """Whether nothing is there for this client: what it asks now is the next thing that it hears."""
        identity = await self.send(wire.Status())
        return (await self.receive())[0] == identity

    def vanish(self) -> None:
        """As if the process had been killed."""
        self._context.destroy(linger=0)


@dataclass
class Scene:
    """A server on a real socket, and one client of it."""

    server: Server
    hub: Hub
    path: Path
    dealer: Dealer


@asynccontextmanager
async def a_server(folder: Path, pipeline: Stage) -> AsyncIterator[Scene]:
    """The hub without app.py: whatever `pipeline` is, the rest is real."""
    catalog = a_catalog(folder)
    residency, history = a_residency(catalog, folder), History(folder / "history.db")
    counters = Counters()
    tiers = some_tiers(folder, book=Book(folder / "cache.db"), counters=counters)
    path = folder / "hub.sock"
    embedding = Embedding(residency, Builtin(catalog, folder / "builtin").choose, Limits())
    puller, estimates = Puller(catalog, folder / "pulled", lambda: 2**30), Estimates(catalog, folder / "measured.json")
    requests = Requests()
    background = Background(requests.in_flight)
    requests.when_stopping(background.end)
    knowledge = Knowledge(folder / "semantic", catalog, tiers, Cache().semantic)
    semantic = build_semantic(knowledge, Cache(), tiers, catalog, embedding, residency, background)
    hub = Hub(
        socket=str(path),
        requests=requests,
        counters=counters,
        pipeline=pipeline,
        embedding=embedding,
        catalog=catalog,
        residency=residency,
        tiers=tiers,
        history=history,
        accounts=some_accounts(folder),
        puller=puller,
        estimates=estimates,
        file_contents=FileContents(MemoryBudget(catalog, estimates, Limits())),
        background=background,
        semantic=semantic,
    )
    server = Server(hub, path)
    dealer = Dealer(path)
    try:
        yield Scene(server, hub, path, dealer)
    finally:
        await requests.stop(0.0)
        dealer.vanish()
        await server.close()
        await residency.close()
        await tiers.close()
        history.close()
