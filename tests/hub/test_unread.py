"""Clients that do not read their replies: the hub holds a bounded number of them, waits, and gives such a client up at last."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import zmq
import zmq.asyncio
from llmctld import server, turns, unread
from llmctld.handlers.hub import Hub, Tell
from llmctld.handlers.table import HANDLERS
from llmctld.turns import AT_ONCE
from llmctld.unread import BYTES, PATIENCE_S, Posted, Unread

from llmctl import wire
from tests.hub.scene import Scene, Speaker, a_server, in_loop, until

MANY = 3000
"""More small replies than the buffers of the two sockets and of the system hold."""


class Deaf:
    """A client that sends, and reads only what it is told to."""

    def __init__(self, path: Path) -> None:
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.RCVHWM, 1)
        self._socket.connect(f"ipc://{path}")

    async def send(self, request: wire.Request, number: int) -> None:
        for each in range(number):
            request.protocol = request.protocol or wire.PROTOCOL
            await self._socket.send_multipart([b"%016d" % each, wire.encode(request)])

    async def finals(self, number: int) -> Counter[bytes]:
        """How many final replies came to each request."""
        found = Counter[bytes]()
        while found.total() < number:
            identity, body = await self._socket.recv_multipart()
            found[identity] += isinstance(wire.decode_reply(body), wire.FINAL)
        return found

    def close(self) -> None:
        self._context.destroy(linger=0)


@contextmanager
def deaf(scene: Scene) -> Iterator[Deaf]:
    client = Deaf(scene.path)
    try:
        yield client
    finally:
        client.close()


@asynccontextmanager
async def full(folder: Path, number: int = MANY) -> AsyncIterator[tuple[Scene, Deaf]]:
    """A hub that has sent a deaf client as many small replies as it may hold."""
    async with a_server(folder, Speaker("fine")) as scene:
        with deaf(scene) as client:
            await client.send(wire.Status(), number)
            await until(lambda: bool(scene.server._unread._full))
            yield scene, client


def served(scene: Scene) -> int:
    return int(scene.hub.counters.counter("requests", type="status", outcome="done").value)


@in_loop
async def test_a_slow_reader_gets_one_final_reply_to_each_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MESSAGES", 50)
    async with full(tmp_path) as (scene, client):
        assert served(scene) < MANY
        assert isinstance(await scene.dealer.ask(wire.Status()), wire.Done), "others are answered meanwhile"
        assert set((await client.finals(MANY)).values()) == {1}
        await until(lambda: len(list(scene.hub.requests)) == 0)
        assert (len(scene.server._turns), scene.server._unread._full) == (0, {})


@in_loop
async def test_a_client_that_reads_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MESSAGES", 50)
    monkeypatch.setattr(unread, "PATIENCE_S", 0.0)
    async with a_server(tmp_path, Speaker("fine")) as scene:
        with deaf(scene) as client:
            await client.send(wire.Status(), MANY)
            await until(lambda: served(scene) > 50 and not list(scene.hub.requests) and not len(scene.server._turns))
            assert served(scene) < MANY
            assert isinstance(await scene.dealer.ask(wire.Status()), wire.Done)


@in_loop
async def test_a_given_up_client_loses_what_it_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its questions do not keep a model busy."""
    monkeypatch.setattr(server, "MESSAGES", 50)
    async with a_server(tmp_path, Speaker("x", held=True)) as scene:
        with deaf(scene) as client:
            await client.send(wire.Generate(prompt="why?"), 1)
            await until(lambda: scene.hub.requests.in_flight() == 1)
            await client.send(wire.Status(), MANY)
            await until(lambda: bool(scene.server._unread._full))
            monkeypatch.setattr(unread, "PATIENCE_S", 0.0)
            await until(lambda: scene.hub.requests.in_flight() == 0)


@in_loop
async def test_large_replies_wait_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "BYTES", 3 * 2**20)
    monkeypatch.setattr(wire, "HEARTBEAT_S", 0.02)
    async with a_server(tmp_path, Speaker("x" * 2**20)) as scene:
        with deaf(scene) as client:
            await client.send(wire.Generate(prompt="why?"), 16)
            await until(lambda: bool(scene.server._unread._full))
            held = scene.server._unread._large
            assert sum(size for replies in held.values() for _, size in replies) < 5 * 2**20
            assert scene.hub.requests.in_flight() > 8, "they wait for room"
            assert set((await client.finals(16)).values()) == {1}
            await until(lambda: scene.hub.requests.in_flight() == 0)
            await until(lambda: held == {})  # it is looked after at each heartbeat


@in_loop
async def test_a_slow_reader_gets_refusals_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MESSAGES", 50)
    async with a_server(tmp_path, Speaker("fine")) as scene:
        with deaf(scene) as client:
            await client.send(wire.Ps(protocol=99), MANY)
            await until(lambda: bool(scene.server._unread.owed))
            assert set((await client.finals(MANY)).values()) == {1}
            await until(lambda: scene.server._unread.owed == {})


@in_loop
async def test_refusals_of_a_client_that_is_gone_or_given_up_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MESSAGES", 50)
    async with a_server(tmp_path, Speaker("fine")) as scene:
        with deaf(scene) as client:
            await client.send(wire.Ps(protocol=99), MANY)
            await until(lambda: bool(scene.server._unread.owed))
        await until(lambda: scene.server._unread.owed == {})
        with deaf(scene) as client:
            await client.send(wire.Ps(protocol=99), MANY)
            await until(lambda: bool(scene.server._unread.owed))
            monkeypatch.setattr(unread, "PATIENCE_S", 0.0)
            await until(lambda: scene.server._unread.owed == {})


@in_loop
async def test_a_hub_stops_while_a_reply_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MESSAGES", 50)
    async with full(tmp_path) as (scene, _):
        stopped = await scene.dealer.ask(wire.Stop(timeout=0.0))
        assert isinstance(stopped, wire.Done)


@in_loop
async def test_one_client_may_have_so_many_requests_under_way(tmp_path: Path) -> None:
    speaker = Speaker("x", held=True)
    async with a_server(tmp_path, speaker) as scene:
        scene.hub.requests.per_client = 2
        under_way = [await scene.dealer.send(wire.Generate(prompt="why?")) for _ in range(2)]
        refused = await scene.dealer.ask(wire.Generate(prompt="why?"))
        assert isinstance(refused, wire.Failed)
        assert refused.code == "busy"
        assert "this client has 2 requests under way" in refused.message
        assert "limits.per_client" in refused.hint
        assert isinstance(await scene.dealer.ask(wire.Status()), wire.Done), "what is no work is no part of it"
        with deaf(scene) as other:
            await other.send(wire.Generate(prompt="why?"), 1)
            await until(lambda: scene.hub.requests.in_flight() == 3)
            speaker.go.set()
            assert (await other.finals(1)).total() == 1
        for identity in under_way:
            assert isinstance((await scene.dealer.replies(identity))[-1], wire.Done)
        assert isinstance(await scene.dealer.ask(wire.Generate(prompt="why?")), wire.Done)
        await until(lambda: scene.hub.requests._work == {})


@in_loop
async def test_more_waiting_requests_than_one_client_may_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WAITING", 5)
    go = asyncio.Event()

    async def slow(hub: Hub, request: wire.Ps, tell: Tell) -> wire.Nothing:
        await go.wait()
        return wire.Nothing()

    monkeypatch.setitem(cast(dict[Any, Any], HANDLERS), wire.Ps, slow)
    async with a_server(tmp_path, Speaker("fine")) as scene:
        for _ in range(AT_ONCE + 5):
            await scene.dealer.send(wire.Ps())
        refused = await scene.dealer.ask(wire.Ps())
        assert isinstance(refused, wire.Failed)
        assert refused.code == "busy"
        assert "requests of this client wait already" in refused.message
        go.set()
        replies = [await scene.dealer.receive() for _ in range(AT_ONCE + 5)]
        assert {type(reply) for _, reply in replies} == {wire.Done}


class Tracker:
    """What pyzmq returns for a reply that is not copied."""

    done = False


def test_room_is_what_the_system_has_not_taken() -> None:
    seen, tracker = Unread(), Tracker()
    seen.add(b"a", tracker, BYTES)  # type: ignore[arg-type]
    assert not seen.has_room(b"a")
    assert seen.has_room(b"b")
    tracker.done = True
    assert seen.has_room(b"a")
    assert seen._large == {}


def test_only_a_client_that_reads_nothing_for_long_is_hopeless() -> None:
    now = [0.0]
    seen = Unread(lambda: now[0])
    seen.posted(b"a", Posted.FULL)
    now[0] = PATIENCE_S
    seen.posted(b"a", Posted.FULL)
    assert not seen.is_hopeless(b"a")
    now[0] += 1
    assert seen.is_hopeless(b"a")
    assert not seen.is_hopeless(b"b")
    tracker = Tracker()
    seen.add(b"a", tracker, BYTES)  # type: ignore[arg-type]
    seen.posted(b"a", Posted.SENT)
    assert seen.is_hopeless(b"a"), "a small reply had room, but the large ones are unread"
    tracker.done = True
    seen.posted(b"a", Posted.SENT)
    assert not seen.is_hopeless(b"a")
    seen.posted(b"a", Posted.FULL)
    seen.posted(b"a", Posted.GONE)
    assert seen._full == {}
