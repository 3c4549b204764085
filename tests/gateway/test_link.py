"""The gateway's link against a real hub: streams, acknowledgements, cancels, and a hub that is gone, silent or another user's."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
from llmctl_gateway import link as module
from llmctl_gateway.link import Link, Replies

from llmctl import wire
from llmctl.errors import InvalidRequest, Unreachable
from tests.e2e.house import house
from tests.hub.scene import Speaker, a_server, in_loop

ASK = wire.Generate(prompt="why?", stream=True)
WORDS = [f"word{number} " for number in range(1000)]


async def text_of(replies: Replies) -> str:
    """The deltas up to the final reply, which must be a Done with the same text."""
    text, final = "", None
    async for reply in replies:
        text += reply.text if isinstance(reply, wire.Delta) else ""
        final = reply
    assert isinstance(final, wire.Done), final
    assert isinstance(final.result, wire.Answer)
    assert final.result.text == text
    return text


@in_loop
async def test_concurrent_requests_each_get_their_own_stream(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker(*WORDS[:50])) as scene, Link(scene.path) as link:

        async def one() -> str:
            async with link.ask(wire.Generate(prompt="why?", stream=True)) as replies:
                return await text_of(replies)

        assert await asyncio.gather(*(one() for _ in range(20))) == ["".join(WORDS[:50])] * 20
        assert await link.call(wire.Ps()) == wire.Done(result=wire.Engines(engines=[]))
        failed = await link.call(wire.LoadModel(name="none"))
        assert isinstance(failed, wire.Failed)
        assert failed.code == "model_unavailable"


@in_loop
async def test_deltas_are_acknowledged_when_they_are_read(tmp_path: Path) -> None:
    """Otherwise the hub would hold all text after the first window until the answer ends."""
    speaker = Speaker(*WORDS, held=True)
    async with a_server(tmp_path, speaker) as scene, Link(scene.path) as link, link.ask(ASK) as replies:
        await speaker.said.wait()
        text = ""
        while text != "".join(WORDS):
            reply = await replies.__anext__()
            text += reply.text if isinstance(reply, wire.Delta) else ""
        speaker.go.set()
        async for reply in replies:
            final = reply
        assert isinstance(final, wire.Done)


@in_loop
async def test_leaving_the_context_of_a_request_cancels_it(tmp_path: Path) -> None:
    speaker = Speaker("x", held=True)
    async with a_server(tmp_path, speaker) as scene, Link(scene.path) as link:
        async with link.ask(ASK) as replies:
            assert await replies.__anext__() == wire.Delta(text="x")
        await speaker.left.wait()
        assert speaker.cancelled == 1
        assert isinstance(await link.call(wire.Status()), wire.Done), "the link goes on"


@in_loop
async def test_a_cancel_returns_the_partial_answer(tmp_path: Path) -> None:
    speaker = Speaker("half an ", "answer", held=True)
    async with a_server(tmp_path, speaker) as scene, Link(scene.path) as link, link.ask(ASK) as replies:
        await speaker.said.wait()
        replies.cancel()
        async for reply in replies:
            final = reply
        assert isinstance(final, wire.Cancelled)
        assert final.answer is not None
        assert final.answer.text == "half an answer"


@in_loop
async def test_closing_the_link_cancels_open_requests_and_notifies_their_readers(tmp_path: Path) -> None:
    speaker = Speaker(held=True)
    async with a_server(tmp_path, speaker) as scene:
        link = Link(scene.path)
        reading = asyncio.create_task(link.call(wire.Generate(prompt="why?")))
        await speaker.said.wait()
        await link.close()
        with pytest.raises(Unreachable, match="closed before it answered"):
            await reading
        await speaker.left.wait()
        assert speaker.cancelled == 1
        await link.close()
        with pytest.raises(Unreachable, match="is closed"):
            await link.call(wire.Status())


@in_loop
async def test_a_request_that_cannot_be_encoded_leaves_the_link_usable(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("x")) as scene, Link(scene.path) as link:
        with pytest.raises(InvalidRequest, match="UTF-8"):
            await link.call(wire.Generate(prompt="\ud800"))
        assert isinstance(await link.call(wire.Generate(prompt="why?")), wire.Done)


@in_loop
async def test_heartbeats_keep_a_slow_answer_from_timing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeats of the hub prevent the timeout."""
    monkeypatch.setattr(wire, "HEARTBEAT_S", 0.02)
    speaker = Speaker(held=True)
    async with a_server(tmp_path, speaker) as scene, Link(scene.path, patience=5.0) as link, link.ask(ASK) as replies:
        for _ in range(3):
            assert isinstance(await replies.__anext__(), wire.Progress)
        speaker.go.set()
        assert await text_of(replies) == ""


# ---- hubs that are not there ----------------------------------------------------------------------------------------


@in_loop
async def test_a_missing_hub_and_a_hub_of_another_user_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unreachable, match="no hub listens"):
        Link(tmp_path / "hub.sock")
    async with a_server(tmp_path, Speaker("x")) as scene:
        with monkeypatch.context() as other:
            other.setattr(os, "getuid", lambda: 123456)
            with pytest.raises(Unreachable, match=r"belongs to user \d+, and this is user 123456"):
                Link(scene.path)
        async with Link(scene.path) as link:
            assert link.pid in (0, os.getpid())


@in_loop
async def test_a_silent_hub_times_out(tmp_path: Path) -> None:
    path = tmp_path / "hub.sock"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen()
        async with Link(path, patience=0.05) as link:
            with pytest.raises(Unreachable, match="does not answer: nothing received"):
                await link.call(wire.Status())
            assert link.closed


@in_loop
async def test_a_killed_hub_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.1)
    with house() as home:
        await asyncio.to_thread(home.echo)
        async with Link(home.socket) as link:
            final = await link.call(wire.Generate(prompt="hello", model="echo"))
            assert isinstance(final, wire.Done), final
            os.kill(link.pid, signal.SIGSTOP)  # so that it cannot answer
            asking = asyncio.create_task(link.call(wire.Generate(prompt="hello again", model="echo")))
            await asyncio.sleep(0)
            os.kill(link.pid, signal.SIGKILL)
            with pytest.raises(Unreachable, match="ended"):
                await asking
            assert link.closed
