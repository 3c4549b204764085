"""The worker of a remote model in the hub's own loop, against a real server: what only the hub can see of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from llmctld.doctor import __main__ as doctor
from llmctld.models.catalogue.address import check_address, is_loopback, is_open
from llmctld.models.engines.ticket import ChatMessage, Load, Submit, Texts, Ticket
from llmctld.models.remote.http import breaker, keys
from llmctld.models.remote.model import RemoteModel, Remotes

from llmctl.config import ModelSettings
from llmctl.errors import EngineFailed, InvalidRequest, ModelUnavailable
from llmctl.paths import find_paths
from tests.faulty_server import Server, cut, embed, endless, here, hold, status
from tests.hub.scene import a_catalog, in_loop, until


@asynccontextmanager
async def a_remote(server: Server, remotes: Remotes | None = None, **settings: Any) -> AsyncIterator[RemoteModel]:
    load = Load(name="far", backend="remote", path=server.url + "/", slots=2, threads=1, memory_bytes=0)
    remote = (remotes or Remotes()).worker(load, ModelSettings(**settings))
    await remote.start()
    try:
        yield remote
    finally:
        await remote.stop()


def question(text: str = "why?", **more: Any) -> Submit:
    return Submit(id=0, messages=[ChatMessage("user", text)], **{"max_tokens": 9, **more})


async def heard(ticket: Ticket) -> str:
    return "".join([piece.text async for piece in ticket])


@in_loop
async def test_each_request_gets_its_own_answer() -> None:
    async with here() as server, a_remote(server) as remote:
        assert remote.loaded is not None
        assert (remote.pid, remote.memory_bytes, remote.loaded.slots, remote.state) == (0, 0, 2, "ready")
        tickets = [remote.submit(question()) for _ in range(5)]
        assert await asyncio.gather(*(heard(ticket) for ticket in tickets)) == ["hello there!"] * 5
        assert [ticket.finished.completion_tokens for ticket in tickets if ticket.finished] == [3] * 5
        assert (remote.busy, remote.tokens_per_second) == (0, 0.0)


@asynccontextmanager
async def keeping(behind: str) -> AsyncIterator[tuple[Server, list[int]]]:
    """A server that keeps its connections, and sends `behind` after the event that ends an answer; with how many it has had."""
    connections, handlers = [0], list["asyncio.Task[Any] | None"]()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[0] += 1
        handlers.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0))
                if head.startswith("get"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n")
                    writer.write(b'{"data":[]}')
                    continue
                events = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                writer.write(b"%x\r\n%s\r\n" % (len(events), events))
                await writer.drain()
                await asyncio.sleep(0)  # in a packet of its own
                writer.write(behind.encode())
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield Server(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"), connections
        await asyncio.gather(*filter(None, handlers))  # the client has closed its connections, so they end


@pytest.mark.parametrize(("behind", "made"), [("0\r\n\r\n", 1), ("", 4), ("no chunk", 4)])
@in_loop
async def test_a_connection_is_reused_after_a_complete_answer(behind: str, made: int) -> None:
    """An endpoint that falls silent or sends garbage after the answer fails no request."""
    async with keeping(behind) as (server, connections), a_remote(server, remote_model="x") as remote:
        assert [await heard(remote.submit(question())) for _ in range(4)] == ["hi"] * 4
        assert connections == [made]


@in_loop
async def test_a_request_cancelled_before_its_first_step_ends() -> None:
    async with here() as server, a_remote(server) as remote:
        ticket = remote.submit(question())
        await ticket.drop()
        assert ticket.finished is not None
        assert (ticket.finished.reason, ticket.finished.completion_tokens, server.asked) == ("cancelled", 0, [])
        await remote.submit(Texts(id=0, texts=["a"])).drop()
        assert not remote.drop(7)


@in_loop
async def test_a_queued_request_can_be_dropped() -> None:
    async with here(usual=hold("x")) as server, a_remote(server) as remote:
        tickets = [remote.submit(question()) for _ in range(3)]
        await until(lambda: len(server.asked) == 2)
        assert (remote.busy, remote.state) == (2, "busy")
        for ticket in reversed(tickets):
            await ticket.drop()
        await until(lambda: server.open == 0)
        assert (len(server.asked), remote.busy) == (2, 0)


@in_loop
async def test_a_failed_request_reports_its_usage() -> None:
    async with here(usual=cut("a", "b")) as server, a_remote(server) as remote:
        ticket = remote.submit(question())
        with pytest.raises(EngineFailed):
            await heard(ticket)
        assert ticket.finished is not None
        assert ticket.finished.completion_tokens == 2


@in_loop
async def test_stop_ends_open_requests_and_refuses_new_ones() -> None:
    async with here(usual=hold("x")) as server, a_remote(server) as remote:
        ticket = remote.submit(question())
        await until(lambda: server.open == 1)
        await remote.stop()
        assert await heard(ticket) in ("", "x")
        assert ticket.finished is not None
        assert ticket.finished.reason == "cancelled"
        await until(lambda: server.open == 0)
        with pytest.raises(EngineFailed, match="closed"):
            remote.submit(question())


@in_loop
async def test_models_of_an_endpoint_share_a_breaker_that_closes_on_success(monkeypatch: pytest.MonkeyPatch) -> None:
    remotes = Remotes()
    async with here(usual=status(503)) as server, a_remote(server, remotes, retries=0) as remote:
        for _ in range(breaker.FAILURES):
            with pytest.raises(EngineFailed, match="503"):
                await heard(remote.submit(question()))
        with pytest.raises(ModelUnavailable, match="tried again in 15 s"):
            await heard(remote.submit(question()))
        assert (len(server.asked), remote.state) == (breaker.FAILURES, "down")
        with pytest.raises(ModelUnavailable, match="in a row"):
            async with a_remote(server, remotes):
                pass
        server.usual = None
        monkeypatch.setattr(remote._breaker, "_now", lambda: 10.0**12)
        assert await heard(remote.submit(question())) == "hello there!"
        assert remote.state == "ready"


@in_loop
async def test_retries_wait_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with here(usual=status(503)) as server, a_remote(server) as remote:
        waits: list[float] = []
        pause = remote._endpoint._pause

        def note(tries: int) -> float:
            waits.append(pause(tries))
            return 0.0

        monkeypatch.setattr(remote._endpoint, "_pause", note)
        with pytest.raises(EngineFailed):
            await heard(remote.submit(question()))
    assert len(server.asked) == 4
    assert [0.25 <= waits[0] <= 0.5, 0.5 <= waits[1] <= 1, 1 <= waits[2] <= 2] == [True] * 3


@in_loop
async def test_queued_texts_can_be_dropped_and_all_vectors_must_have_one_length() -> None:
    async with here(usual=embed()) as server, a_remote(server) as remote:
        ticket = remote.submit(Texts(id=0, texts=["ab", "c"]))
        assert await heard(ticket) == ""
        assert ticket.embedded is not None
        assert remote.loaded is not None
        assert (remote.loaded.dimension, ticket.embedded.tokens, len(ticket.embedded.vectors)) == (3, 2, 24)


@in_loop
async def test_an_endless_answer_is_cancelled() -> None:
    async with here(usual=endless("x" * 2**16)) as server, a_remote(server) as remote:
        with pytest.raises(EngineFailed, match="sends an endless answer"):
            await heard(remote.submit(question(max_tokens=10)))
        await until(lambda: server.open == 0)
        assert len(server.asked) == 1


@in_loop
async def test_doctor_reports_a_remote_model_as_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path))
    a_catalog(tmp_path).add("far", "http://127.0.0.1:9/v1", [], {}, False)
    assert [(found.check, found.state) for found in doctor.models(find_paths())] == [("model far", "ok")]


# ---- addresses and keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("http://localhost:1/v1", True), ("http://LOCALHOST/v1", True), ("http://a.localhost./v1", True),
        ("http://127.0.0.1/v1", True), ("http://127.9.9.9/v1", True), ("http://[::1]:8/v1", True), ("http://0.0.0.0/v1", True),
        ("http://localhost.example/v1", False), ("http://192.168.0.1/v1", False), ("http://127.0.0.1.nip.io/v1", False),
    ],
)  # fmt: skip
def test_addresses_of_this_machine_are_recognised(address: str, local: bool) -> None:
    check_address(address)
    assert is_loopback(address) is local
    assert is_open(address) is not local
    assert not is_open(address.replace("http:", "https:"))


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://a b/v1", "http://ü/v1", "http://h/v1#x", "https://u@h", "http://h\n/"]
)
def test_invalid_endpoint_addresses_are_refused(address: str) -> None:
    with pytest.raises(InvalidRequest):
        check_address(address)


@in_loop
async def test_an_api_key_is_hidden_when_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", " sk-secret\n")
    key = await keys.find_key("m", "https://far/v1", "THE_KEY")
    assert key is not None
    assert key.secret == "sk-secret"
    assert "sk-secret" not in f"{key} {key!r} {[key]}"
    assert key.hide("no: sk-secret!") == "no: [the key]!"
    assert await keys.find_key("m", "http://localhost/v1", None) is None


@in_loop
async def test_an_api_key_with_invalid_header_characters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("two words", "a\nb", "schlüssel"):
        monkeypatch.setenv("THE_KEY", wrong)
        with pytest.raises(ModelUnavailable, match="the variable THE_KEY is not a valid key") as caught:
            await keys.find_key("m", "https://far/v1", "THE_KEY")
        assert wrong not in caught.value.message + caught.value.hint


def test_the_identity_of_a_remote_model_is_its_address_and_remote_name(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path)
    entries = [
        catalog.add(name, target, [], settings, False)
        for name, target, settings in (
            ("a", "http://h/v1", {"remote_model": "x"}),
            ("b", "http://h/v1/", {"remote_model": "x"}),
            ("c", "http://h/v1", {"remote_model": "y"}),
            ("d", "http://other/v1", {"remote_model": "x"}),
        )
    ]
    one, same, *others = [catalog.identity(entry) for entry in entries]
    assert one == same
    assert len({one, *others}) == 3
