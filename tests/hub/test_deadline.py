"""A request's own time limit: it ends what lies behind, keeps what came, and touches nothing else."""

import asyncio

import pytest
from llmctld.pipeline.call import compose
from llmctld.pipeline.deadline import deadline

from llmctl.errors import Busy, InvalidRequest, Timeout
from tests.hub.scene import Speaker, a_call, answer_of, events_of, in_loop


@in_loop
async def test_what_came_before_the_limit_is_kept() -> None:
    speaker = Speaker("half an ", "answer", held=True)
    with pytest.raises(Timeout, match=r"0\.05 s .*2 tokens") as caught:
        await events_of(compose([deadline], speaker), a_call(prompt="why?", timeout=0.05))
    assert speaker.cancelled == 1
    answer = caught.value.answer
    assert answer is not None
    assert (answer.text, answer.finish_reason) == ("half an answer", "timeout")


@in_loop
async def test_a_limit_that_passed_before_anything_came_says_what_was_being_done() -> None:
    speaker, call = Speaker(held=True), a_call(prompt="why?", timeout=0.01)
    call.work.state = "queued"
    with pytest.raises(Timeout, match="the request was queued"):
        await events_of(compose([deadline], speaker), call)


@in_loop
async def test_the_limit_counts_from_the_arrival() -> None:
    call = a_call(prompt="why?", timeout=30.0)
    call.arrived -= 31.0
    with pytest.raises(Timeout):
        await events_of(compose([deadline], Speaker(held=True)), call)


@pytest.mark.parametrize("timeout", [None, 0.05, float("inf")])
@in_loop
async def test_an_answer_in_time_leaves_no_alarm_behind(timeout: float | None) -> None:
    assert (await answer_of(compose([deadline], Speaker("x")), a_call(prompt="why?", timeout=timeout))).text == "x"
    await asyncio.sleep(0.08)  # the alarm would cancel this very task


@in_loop
async def test_a_failure_and_a_cancel_stay_what_they_are() -> None:
    with pytest.raises(Busy):
        await events_of(compose([deadline], Speaker(error=Busy("full"))), a_call(prompt="x", timeout=5.0))
    speaker = Speaker(held=True)
    task = asyncio.create_task(events_of(compose([deadline], speaker), a_call(prompt="x", timeout=5.0)))
    await speaker.said.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("-inf")])
@in_loop
async def test_a_limit_that_is_none_is_refused(timeout: float) -> None:
    speaker = Speaker("x")
    with pytest.raises(InvalidRequest, match="timeout"):
        await events_of(compose([deadline], speaker), a_call(prompt="x", timeout=timeout))
    assert not speaker.calls
