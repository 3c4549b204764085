"""The socket: whatever a client sends and whatever happens to its request, there is exactly one final reply."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import msgspec
import pytest
from llmctld.call.call import Call, Event, Link, Stage, compose
from llmctld.handlers.hub import Hub, Tell
from llmctld.handlers.table import CALLS, HANDLERS
from llmctld.requests import Key, Pending, Requests
from llmctld.runtime import descriptors
from llmctld.turns import AT_ONCE
from llmctld.unread import Posted

from llmctl import wire
from llmctl.errors import ERRORS, Busy
from tests.hub.scene import LIMIT_S, Dealer, Scene, Speaker, a_server, in_loop, until

ASK = wire.Generate(prompt="why?", stream=True)
FLOOD = 3000
"""Requests that one client sends without reading a reply."""


@asynccontextmanager
async def answering(folder: Path, *words: str) -> AsyncIterator[tuple[Scene, Speaker, bytes]]:
    """A server that has sent `words` as the answer to ASK, whose id is the last part. `speaker.go` lets the answer end."""
    speaker = Speaker(*words, held=True)
    async with a_server(folder, speaker) as scene:
        identity = await scene.dealer.send(ASK)
        await speaker.said.wait()
        yield scene, speaker, identity


def test_every_request_type_has_a_handler_or_is_handled_by_the_server() -> None:
    assert set(get_args(wire.AnyRequest)) == {*HANDLERS, wire.Cancel, wire.Ack}


def test_every_handler_has_the_expected_parameter_and_return_types() -> None:
    for kind, handler in HANDLERS.items():
        hub, subject, tell, result = get_type_hints(handler).values()
        assert (hub, tell) == (Hub, Tell), handler
        assert subject is (Call if kind in CALLS else kind), handler
        assert set(get_args(result) or [result]) <= set(get_args(wire.AnyResult)), handler
    for kind, make in CALLS.items():
        assert get_type_hints(make) == {"id": str, "request": kind, "return": Call}


# ---- every request gets one final reply -----------------------------------------------------------------------------


def breaking(error: BaseException, *, when: str) -> Link:
    """A stage that raises before, after the first event of, or at the end of the stages behind it."""

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            if when == "before":
                raise error
            async with aclosing(next_(call)) as events:
                async for event in events:
                    if when == "during" or isinstance(event, wire.Answer):
                        raise error
                    yield event

        return stage

    return link


def through(next_: Stage) -> Stage:
    async def stage(call: Call) -> AsyncGenerator[Event, None]:
        async with aclosing(next_(call)) as events:
            async for event in events:
                yield event

    return stage


@pytest.mark.parametrize("when", ["before", "during", "end"])
@pytest.mark.parametrize("position", range(3))
@in_loop
async def test_any_exception_of_a_stage_ends_in_exactly_one_failed_reply(
    tmp_path: Path, position: int, when: str
) -> None:
    errors = [
        RuntimeError("secret"),
        OSError(28, "No space left on device"),
        KeyError("x"),
        AssertionError(),
        Busy("full"),
    ]
    for error in errors:
        links: list[Link] = [through, through, through]
        links[position] = breaking(error, when=when)
        async with a_server(tmp_path, compose(links, Speaker("a", "b"))) as scene:
            identity = await scene.dealer.send(ASK)
            replies = await scene.dealer.replies(identity)
            final = replies[-1]
            assert isinstance(final, wire.Failed)
            assert final.code == ("busy" if isinstance(error, Busy) else "internal")
            assert final.code == "busy" or identity.hex() in final.message, "it can be found in the log"
            assert await scene.dealer.is_silent()
            assert scene.hub.requests.in_flight() == 0


@in_loop
async def test_every_error_class_reaches_the_client_under_its_code(tmp_path: Path) -> None:
    for code, kind in ERRORS.items():
        if code == "cancelled":
            continue
        async with a_server(tmp_path, Speaker("part", error=kind("what happened", "what to do"))) as scene:
            final = await scene.dealer.ask(ASK)
            assert isinstance(final, wire.Failed)
            assert (final.code, final.message, final.hint) == (code, "what happened", "what to do")


@in_loop
async def test_a_pipeline_that_ends_without_an_answer_is_an_internal_error(tmp_path: Path) -> None:
    async def silent(call: Call) -> AsyncGenerator[Event, None]:
        yield wire.Notice(text="hm")

    async with a_server(tmp_path, silent) as scene:
        final = await scene.dealer.ask(ASK)
        assert isinstance(final, wire.Failed)
        assert final.code == "internal"


@in_loop
async def test_an_answer_that_cannot_be_encoded_still_gives_a_final_reply(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("\ud800")) as scene:
        final = await scene.dealer.ask(ASK)
        assert isinstance(final, wire.Failed)
        assert final.code == "internal"
        assert await scene.dealer.is_silent()
        assert scene.hub.requests.in_flight() == 0


@in_loop
async def test_an_undecodable_body_is_answered_and_the_hub_continues(tmp_path: Path) -> None:
    pack = msgspec.msgpack.encode
    bodies = [
        b"", b"\xc1", b"\xc1" * 64, pack(7), pack({"type": "nonsense", "protocol": wire.PROTOCOL}),
        pack({"prompt": "no type", "protocol": wire.PROTOCOL}),
        pack({"type": "generate", "protocol": wire.PROTOCOL, "temperature": "hot"}),
        pack({"type": "generate", "protocol": wire.PROTOCOL, "prompt": "x"})[:-1],
        pack({"type": "generate", "protocol": wire.PROTOCOL, "prompt": "x"}).replace(b"x", b"\xff"),
        pack({"type": "generate", "protocol": wire.PROTOCOL})[:-1] + b"\x91" * 100_000,
        b"\x82\xa4type\xa8generate\xa1x" + b"\x91" * 100_000 + b"\x00",
    ]  # fmt: skip
    async with a_server(tmp_path, Speaker("fine")) as scene:
        for body in bodies:
            identity = os.urandom(16)
            await scene.dealer.send_frames(identity, body)
            final = (await scene.dealer.replies(identity))[-1]
            assert isinstance(final, wire.Failed), body[:80]
            assert final.code == "invalid_request"
        wrong = await scene.dealer.send(wire.Generate(temperature="hot"))  # type: ignore[arg-type]
        final = (await scene.dealer.replies(wrong))[-1]
        assert isinstance(final, wire.Failed)
        assert "temperature" in final.message
        assert isinstance(await scene.dealer.ask(ASK), wire.Done)


@in_loop
async def test_malformed_frames_are_dropped_and_the_hub_continues(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("fine")) as scene:
        for frames in ([b""], [b"x" * 15, b""], [b"x" * 17, b""], [b"x" * 16], [b"x" * 16, b"", b""], [b"a"] * 9):
            await scene.dealer.send_frames(*frames)
        assert isinstance(await scene.dealer.ask(ASK), wire.Done)
        assert await scene.dealer.is_silent()


@in_loop
async def test_another_protocol_version_is_refused_except_for_status_and_stop(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("fine")) as scene:
        for request in (
            {"type": "generate", "protocol": 99, "prompt": "x"},
            {"type": "from the future", "protocol": 99},
            {"type": "ps"},
        ):
            identity = os.urandom(16)
            await scene.dealer.send_frames(identity, msgspec.msgpack.encode(request))
            (final,) = await scene.dealer.replies(identity)
            assert isinstance(final, wire.Failed)
            assert final.code == "unreachable"
            assert str(request.get("protocol", 0)) in final.message
            assert str(wire.PROTOCOL) in final.message
        for stable in ({"type": "status", "protocol": 99}, {"type": "stop", "protocol": 99, "timeout": 0.0}):
            identity = os.urandom(16)
            await scene.dealer.send_frames(identity, msgspec.msgpack.encode(stable))
            assert isinstance((await scene.dealer.replies(identity))[-1], wire.Done)


# ---- cancelling -----------------------------------------------------------------------------------------------------


@in_loop
async def test_cancel_is_handled_at_once_and_returns_the_partial_answer(tmp_path: Path) -> None:
    async with answering(tmp_path, "half an ", "answer") as (scene, speaker, identity):
        assert scene.hub.requests.in_flight() == 1
        await scene.dealer.send(wire.Cancel(), identity)
        final = (await scene.dealer.replies(identity))[-1]
        assert isinstance(final, wire.Cancelled)
        assert final.answer is not None
        assert (final.answer.text, final.answer.finish_reason) == ("half an answer", "cancelled")
        assert speaker.cancelled == 1
        assert scene.hub.requests.in_flight() == 0
        assert await scene.dealer.is_silent()


@in_loop
async def test_a_cancel_right_after_its_request_still_gives_a_final_reply(tmp_path: Path) -> None:
    """Both are read from the socket together: the request is cancelled before its task has begun to run."""
    async with a_server(tmp_path, Speaker("x", held=True)) as scene:
        waiting = set()
        for _ in range(40):
            identity = await scene.dealer.send(ASK)
            await scene.dealer.send(wire.Cancel(), identity)
            waiting.add(identity)
        while waiting:
            identity, reply = await scene.dealer.receive()
            if isinstance(reply, wire.FINAL):
                waiting.remove(identity)
        assert scene.hub.requests.in_flight() == 0


@in_loop
async def test_a_cancel_of_an_unknown_or_another_client_s_request_does_nothing(tmp_path: Path) -> None:
    async with answering(tmp_path, "x") as (scene, speaker, identity):
        other = Dealer(scene.path)
        await other.send(wire.Cancel(), identity)
        await other.send(wire.Cancel())
        assert await other.is_silent()
        other.vanish()
        speaker.go.set()
        assert isinstance((await scene.dealer.replies(identity))[-1], wire.Done)


@in_loop
async def test_the_requests_of_a_vanished_client_are_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEARTBEAT_S", 0.02)
    speaker = Speaker("x", held=True)
    async with a_server(tmp_path, speaker) as scene:
        other = Dealer(scene.path)
        await other.send(ASK)
        await speaker.said.wait()
        other.vanish()
        await speaker.left.wait()
        assert speaker.cancelled == 1
        assert isinstance(await scene.dealer.ask(wire.Status()), wire.Done)
        assert scene.hub.requests.in_flight() == 0


@in_loop
async def test_a_long_request_sends_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEARTBEAT_S", 0.02)
    speaker = Speaker(held=True)
    async with a_server(tmp_path, speaker) as scene:
        identity = await scene.dealer.send(wire.Generate(prompt="why?"))
        await speaker.said.wait()
        speaker.calls[0].work.state = "loading"
        told = wire.Progress(state="loading")
        while (await scene.dealer.receive(signs_of_life=True))[1] != told:
            pass  # on its way before
        for _ in range(3):
            assert await scene.dealer.receive(signs_of_life=True) == (identity, told)


@in_loop
async def test_a_repeated_id_in_flight_counts_as_the_same_request(tmp_path: Path) -> None:
    speaker = Speaker("x", held=True)
    async with a_server(tmp_path, speaker) as scene:
        identity = await scene.dealer.send(ASK)
        await scene.dealer.send(ASK, identity)
        await speaker.said.wait()
        other = Dealer(scene.path)
        await other.send(ASK, identity)  # the same id of another client is another request
        await until(lambda: len(speaker.calls) == 2)
        speaker.go.set()
        assert isinstance((await scene.dealer.replies(identity))[-1], wire.Done)
        assert isinstance((await other.replies(identity))[-1], wire.Done)
        other.vanish()
        assert await scene.dealer.is_silent()
        assert len(speaker.calls) == 2


# ---- what a client has not read -------------------------------------------------------------------------------------

WORDS = [f"word{number} " for number in range(1000)]


def kinds(replies: list[wire.AnyReply]) -> list[str]:
    return [type(reply).__name__ for reply in replies]


def joined(replies: list[wire.AnyReply]) -> str:
    return "".join(reply.text for reply in replies if isinstance(reply, wire.Delta))


@in_loop
async def test_a_reader_without_acknowledgements_gets_all_text_in_few_frames(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker(*WORDS)) as scene:
        replies = await scene.dealer.replies(await scene.dealer.send(ASK))
        assert joined(replies) == "".join(WORDS)
        assert kinds(replies).count("Delta") <= wire.WINDOW + 1
        final = replies[-1]
        assert isinstance(final, wire.Done)
        assert isinstance(final.result, wire.Answer)
        assert final.result.text == "".join(WORDS)


@in_loop
async def test_acknowledging_opens_the_window_again(tmp_path: Path) -> None:
    async with answering(tmp_path, *WORDS) as (scene, speaker, identity):
        first = [(await scene.dealer.receive())[1] for _ in range(wire.WINDOW)]
        for useless in (0, -5):
            await scene.dealer.send(wire.Ack(count=useless), identity)
        assert await scene.dealer.is_silent(), "64 are unread, so the rest waits"
        await scene.dealer.send(wire.Ack(count=32), identity)
        rest = [(await scene.dealer.receive())[1]]
        assert joined(first + rest) == "".join(WORDS), "what waited comes as one"
        speaker.go.set()
        assert kinds(await scene.dealer.replies(identity)) == ["Done"]


@in_loop
async def test_a_reader_that_acknowledges_gets_each_delta_separately(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker(*WORDS[:200])) as scene:
        identity = await scene.dealer.send(ASK)
        got: list[wire.AnyReply] = []
        while not got or not isinstance(got[-1], wire.FINAL):
            got.append((await scene.dealer.receive())[1])
            await scene.dealer.send(wire.Ack(count=1), identity)
        assert joined(got) == "".join(WORDS[:200])


@in_loop
async def test_without_stream_there_is_no_delta(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker(*WORDS)) as scene:
        assert kinds(await scene.dealer.replies(await scene.dealer.send(wire.Generate(prompt="why?")))) == ["Done"]


# ---- the end --------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_stopping_hub_finishes_requests_in_flight_and_refuses_new_ones(tmp_path: Path) -> None:
    async with answering(tmp_path, "x") as (scene, speaker, identity):
        stop = await scene.dealer.send(wire.Stop(timeout=LIMIT_S))
        await until(lambda: not scene.path.exists())  # the next command starts the next hub
        late = (await scene.dealer.replies(await scene.dealer.send(ASK)))[-1]
        assert isinstance(late, wire.Failed)
        assert late.code == "unreachable"
        assert late.retry
        speaker.go.set()
        finals: dict[bytes, wire.AnyReply] = {}
        while len(finals) < 2:
            to, reply = await scene.dealer.receive()
            if isinstance(reply, wire.FINAL):
                finals[to] = reply
        assert isinstance(finals[identity], wire.Done)
        assert finals[stop] == wire.Done(result=wire.Stopped(cancelled=[]))
        assert scene.hub.requests.stopped.is_set()


@in_loop
async def test_stop_cancels_and_names_requests_that_exceed_the_timeout(tmp_path: Path) -> None:
    async with answering(tmp_path, "so far") as (scene, _, identity):
        stop = await scene.dealer.send(wire.Stop(timeout=0.01))
        cancelled = (await scene.dealer.replies(identity))[-1]
        assert isinstance(cancelled, wire.Cancelled)
        assert cancelled.answer is not None
        assert cancelled.answer.text == "so far"
        final = (await scene.dealer.replies(stop))[-1]
        assert isinstance(final, wire.Done)
        assert isinstance(final.result, wire.Stopped)
        assert [name.split()[0] for name in final.result.cancelled] == [identity.hex()[:12]]


@in_loop
async def test_a_stop_cancelled_by_its_client_still_ends_the_hub(tmp_path: Path) -> None:
    """The hub accepts no requests any more: if it did not end, it would hold the lock forever."""
    async with answering(tmp_path, "x") as (scene, speaker, asked):
        stop = await scene.dealer.send(wire.Stop(timeout=LIMIT_S))
        await scene.dealer.send(wire.Cancel(), stop)
        assert isinstance((await scene.dealer.replies(stop))[-1], wire.Cancelled)
        speaker.go.set()
        assert isinstance((await scene.dealer.replies(asked))[-1], wire.Done)
        await scene.hub.requests.stopped.wait()


@in_loop
async def test_a_hub_whose_socket_file_vanishes_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEARTBEAT_S", 0.02)
    async with a_server(tmp_path, Speaker("x")) as scene:
        scene.path.unlink()
        scene.path.touch()  # of another hub: it must not be removed
        await scene.hub.requests.stopped.wait()
        assert scene.path.exists()


def test_a_pull_counts_as_work_but_does_not_delay_background_work() -> None:
    requests = Requests()
    asked: list[wire.AnyRequest] = [wire.PullModel(repo="ana/tiny"), ASK, wire.Ps()]
    for number, request in enumerate(asked):
        requests.add(
            Pending((b"client", bytes([number]) * wire.ID_BYTES), request, None, lambda key, reply: Posted.SENT)
        )
    assert (requests.in_flight(), requests.delaying()) == (2, 1)
    assert next(iter(requests)).name.endswith(" (ana/tiny)")


# ---- many requests of one client ------------------------------------------------------------------------------------


def served(scene: Scene) -> int:
    return int(scene.hub.counters.counter("requests", type="status", outcome="done").value)


def held_statuses(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """No wire.Status is answered before this event is set."""
    go = asyncio.Event()

    async def slow(hub: Hub, request: wire.Status, tell: Tell) -> wire.Stopped:
        await go.wait()
        return wire.Stopped(cancelled=[])

    monkeypatch.setitem(cast(dict[Any, Any], HANDLERS), wire.Status, slow)
    return go


@in_loop
async def test_a_flood_delays_another_client_by_a_few_of_its_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted from the moment in which the hub has read the other client's request to the end of its answer."""
    counts: list[int] = []

    async def counting(call: Call) -> AsyncGenerator[Event, None]:
        try:
            async for event in Speaker("fine")(call):
                yield event
        finally:
            counts.append(served(scene))

    async with a_server(tmp_path, counting) as scene:
        begin = scene.server._begin

        def begun(key: Key, request: wire.AnyRequest) -> None:
            counts.append(served(scene))
            begin(key, request)

        monkeypatch.setattr(scene.server, "_begin", begun)  # requests of the flood are begun by their turns
        flood = Dealer(scene.path)
        for _ in range(FLOOD):
            await flood.send(wire.Status())
        assert isinstance(await scene.dealer.ask(ASK), wire.Done)
        before, after = counts
        assert after - before < FLOOD / 10, counts
        await until(lambda: served(scene) == FLOOD)
        flood.vanish()


@in_loop
async def test_the_socket_is_read_at_most_once_in_each_turn_of_the_loop(tmp_path: Path) -> None:
    """Each reply asks for another look at the socket: together they must not read the whole flood at once."""
    async with a_server(tmp_path, Speaker("fine")) as scene:
        flood = Dealer(scene.path)
        for _ in range(FLOOD):
            await flood.send(wire.Generate(model="none", prompt="x", protocol=wire.PROTOCOL))
        most = 0
        while (ended := scene.hub.counters.counter("requests", type="generate", outcome="done").value) < FLOOD:
            most = max(most, len(list(scene.hub.requests)))
            await asyncio.sleep(0)
        assert ended == FLOOD
        assert most < FLOOD / 4
        flood.vanish()


@in_loop
async def test_waiting_requests_of_a_vanished_client_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HEARTBEAT_S", 0.02)  # the first message to nobody
    go = held_statuses(monkeypatch)
    async with a_server(tmp_path, Speaker("fine")) as scene:
        flood = Dealer(scene.path)
        for _ in range(500):
            await flood.send(wire.Status())
        await until(lambda: len(scene.server._turns) == 500 - AT_ONCE)
        flood.vanish()
        await until(lambda: len(scene.server._turns) == 0)
        go.set()
        assert isinstance(await scene.dealer.ask(ASK), wire.Done)
        await until(lambda: not list(scene.hub.requests))
        assert served(scene) == 0, "nor is anything served to nobody"


@in_loop
async def test_a_cancelled_waiting_request_and_a_repeated_id_get_one_reply(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("fine")) as scene:
        for _ in range(50):
            await scene.dealer.send(wire.Status())
        last = await scene.dealer.send(wire.Status())
        await scene.dealer.send(wire.Status(), last)
        await scene.dealer.send(wire.Cancel(), last)
        replies = [await scene.dealer.receive() for _ in range(51)]
        (final,) = [reply for identity, reply in replies if identity == last]
        assert isinstance(final, wire.Cancelled)
        assert await scene.dealer.is_silent()


@in_loop
async def test_waiting_requests_get_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind eight that take long; without a sign of life a client takes the hub for dead."""
    monkeypatch.setattr(wire, "HEARTBEAT_S", 0.005)
    go = held_statuses(monkeypatch)
    async with a_server(tmp_path, Speaker("fine")) as scene:
        for _ in range(AT_ONCE):
            await scene.dealer.send(wire.Status())
        last = await scene.dealer.send(wire.Status())
        while (await scene.dealer.receive(signs_of_life=True))[0] != last:
            assert not go.is_set()
        go.set()
        assert isinstance((await scene.dealer.replies(last))[-1], wire.Done)


@in_loop
async def test_a_request_sent_again_while_descriptors_are_scarce_gets_one_final_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(tmp_path, "fine") as (scene, speaker, identity):
        monkeypatch.setattr(descriptors, "are_scarce", lambda: True)
        await scene.dealer.send(ASK, identity)
        other = await scene.dealer.send(wire.Generate(prompt="another"))
        to, reply = await scene.dealer.receive()
        while isinstance(reply, wire.Delta):
            to, reply = await scene.dealer.receive()
        assert isinstance(reply, wire.Failed)
        assert (to, reply.code) == (other, "busy"), "the one under way is not refused"
        speaker.go.set()
        final = (await scene.dealer.replies(identity))[-1]
        assert isinstance(final, wire.Done)
        assert await scene.dealer.is_silent()
