"""A request's timeout: it ends the later stages, keeps the text received so far, and affects nothing else."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from llmctld.call.call import Call, Event, compose
from llmctld.pipeline.intake.deadline import deadline

from llmctl import wire
from llmctl.errors import Busy, InvalidRequest, Timeout
from tests.hub.scene import LIMIT_S, Speaker, a_call, answer_of, events_of, in_loop


@in_loop
async def test_text_received_before_the_timeout_is_kept() -> None:
    """All text is yielded within one turn of the event loop, so that the timer cannot fire in between."""
    ended = asyncio.Event()

    async def speak(call: Call) -> AsyncGenerator[Event, None]:
        try:
            for piece in ("half an ", "answer"):
                call.work.text += piece
                call.work.usage.completion_tokens += 1
                yield wire.Delta(text=piece)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            raise

    with pytest.raises(Timeout, match=r"0\.05 s .*2 tokens") as caught:
        await events_of(compose([deadline], speak), a_call(prompt="why?", timeout=0.05))
    assert ended.is_set()
    answer = caught.value.answer
    assert answer is not None
    assert (answer.text, answer.finish_reason) == ("half an answer", "timeout")


@in_loop
async def test_timeout_before_any_text_states_what_the_request_was_doing() -> None:
    speaker, call = Speaker(held=True), a_call(prompt="why?", timeout=0.01)
    call.work.state = "queued"
    with pytest.raises(Timeout, match="the request was queued"):
        await events_of(compose([deadline], speaker), call)


@in_loop
async def test_timeout_counts_from_the_arrival() -> None:
    call = a_call(prompt="why?", timeout=30.0)
    call.arrived -= 31.0
    with pytest.raises(Timeout):
        await events_of(compose([deadline], Speaker(held=True)), call)


@pytest.mark.parametrize("timeout", [None, LIMIT_S, float("inf")])
@in_loop
async def test_answer_in_time_cancels_the_timer(timeout: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer left behind would later cancel whatever the task does by then."""
    loop, alarms = asyncio.get_running_loop(), list[asyncio.TimerHandle]()
    plain = loop.call_at

    def call_at(when: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        alarms.append(plain(when, callback, *args))
        return alarms[-1]

    monkeypatch.setattr(loop, "call_at", call_at)
    assert (await answer_of(compose([deadline], Speaker("x")), a_call(prompt="why?", timeout=timeout))).text == "x"
    assert len(alarms) == (timeout is not None)
    assert all(alarm.cancelled() for alarm in alarms)


@in_loop
async def test_errors_and_cancellation_pass_through_unchanged() -> None:
    with pytest.raises(Busy):
        await events_of(compose([deadline], Speaker(error=Busy("full"))), a_call(prompt="x", timeout=LIMIT_S))
    speaker = Speaker(held=True)
    task = asyncio.create_task(events_of(compose([deadline], speaker), a_call(prompt="x", timeout=LIMIT_S)))
    await speaker.said.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("-inf")])
@in_loop
async def test_invalid_timeouts_are_refused(timeout: float) -> None:
    speaker = Speaker("x")
    with pytest.raises(InvalidRequest, match="timeout"):
        await events_of(compose([deadline], speaker), a_call(prompt="x", timeout=timeout))
    assert not speaker.calls
