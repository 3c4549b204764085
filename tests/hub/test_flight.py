"""Equal concurrent requests are computed once, and cancelling one does not affect the others."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from llmctld.call.call import Call, Event
from llmctld.pipeline.reuse.flight import Flights

from llmctl.errors import Busy, LlmctlError
from llmctl.wire import Answer
from tests.hub.scene import LIMIT_S, Speaker, a_call, events_of, in_loop, text_of

KEY = "k" * 32


def passengers(count: int) -> list[Call]:
    calls = [a_call(prompt="why?", user=f"user {number}") for number in range(count)]
    for call in calls:
        call.key = KEY
    return calls


def board(flights: Flights, calls: list[Call]) -> "list[asyncio.Task[Answer]]":
    async def fly(call: Call) -> Answer:
        events = await events_of(flights.join, call)
        assert isinstance(events[-1], Answer)
        assert text_of(events) == events[-1].text
        return events[-1]

    return [asyncio.create_task(fly(call)) for call in calls]


@in_loop
async def test_eight_equal_requests_share_one_computation() -> None:
    speaker = Speaker("a", "b", "c")
    calls = passengers(8)
    answers = await asyncio.gather(*board(Flights(speaker), calls))
    assert len(speaker.calls) == 1
    assert [answer.text for answer in answers] == ["abc"] * 8
    assert [answer.id for answer in answers] == [call.id for call in calls], "each answer has its own request's id"
    assert [answer.user for answer in answers] == [call.request.user for call in calls]
    assert [answer.cache.hit for answer in answers] == [None, *["flight"] * 7]
    assert len({id(answer.timings) for answer in answers}) == 8


@in_loop
async def test_other_keys_and_later_requests_are_computed_separately() -> None:
    speaker = Speaker("a")
    flights = Flights(speaker)
    first, other = passengers(2)
    other.key = "o" * 32
    await asyncio.gather(*board(flights, [first, other]))
    assert len(speaker.calls) == 2
    (later,) = await asyncio.gather(*board(flights, passengers(1)))
    assert len(speaker.calls) == 3
    assert later.cache.hit is None


@in_loop
async def test_cancelling_the_first_request_does_not_affect_the_others() -> None:
    speaker = Speaker("a", "b", held=True)
    tasks = board(Flights(speaker), passengers(8))
    await speaker.said.wait()
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    speaker.go.set()
    assert [answer.text for answer in await asyncio.gather(*tasks[1:])] == ["ab"] * 7
    assert len(speaker.calls) == 1
    assert speaker.cancelled == 0


@in_loop
async def test_computation_ends_when_the_last_request_is_cancelled() -> None:
    speaker = Speaker("a", held=True)
    flights = Flights(speaker)
    tasks = board(flights, passengers(3))
    await speaker.said.wait()
    for task in tasks:
        assert not speaker.left.is_set()
        task.cancel()
        await asyncio.wait([task])
    assert speaker.left.is_set(), "the last one waits until the computation has ended"
    assert speaker.cancelled == 1
    again = board(flights, passengers(1))
    speaker.go.set()
    assert (await again[0]).cache.hit is None
    assert len(speaker.calls) == 2, "no request joins a cancelled flight"


@in_loop
async def test_late_joiner_gets_the_whole_text() -> None:
    speaker = Speaker("one ", "two ", held=True)
    flights = Flights(speaker)
    (first,) = board(flights, passengers(1))
    await speaker.said.wait()
    late = passengers(1)
    (second,) = board(flights, late)
    await asyncio.sleep(0)
    assert late[0].work.text == "one two ", "a late joiner has the text so far, in case it is cancelled"
    speaker.go.set()
    assert (await first).text == (await second).text == "one two "


@pytest.mark.parametrize("error", [Busy("full", "wait"), RuntimeError("a bug")])
@in_loop
async def test_failure_reaches_all_joined_requests(error: Exception) -> None:
    tasks = board(Flights(Speaker("a", error=error)), passengers(4))
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [type(error)] * 4
    assert [str(each) for each in found] == [str(error)] * 4
    if isinstance(error, LlmctlError):
        assert len({id(each) for each in found}) == 4, "each request gets its own exception object"


@pytest.mark.parametrize("error", [None, Busy("full"), RuntimeError("a bug")])
@in_loop
async def test_joining_at_the_moment_of_the_end_does_not_hang(error: Exception | None) -> None:
    speaker = Speaker("a", error=error)
    flights = Flights(speaker)
    (first,) = passengers(1)
    tasks = board(flights, [first])
    while not speaker.left.is_set():
        tasks += board(flights, passengers(1))
        await asyncio.sleep(0)
    tasks += board(flights, passengers(1))
    for _ in range(5):
        await asyncio.sleep(0)
        tasks += board(flights, passengers(1))
    done, pending = await asyncio.wait(tasks, timeout=LIMIT_S / 2)
    assert not pending
    assert all((task.exception() is None) == (error is None) for task in done)


# ---- owner of the computation ---------------------------------------------------------------------------------------


def computation(speaker: Speaker) -> Call:
    (call,) = speaker.calls
    return call


async def leave(task: "asyncio.Task[Answer]") -> None:
    task.cancel()
    await asyncio.wait([task])


@in_loop
async def test_computation_of_a_cancelled_first_request_is_charged_to_the_next() -> None:
    speaker = Speaker("a", held=True)
    calls = [a_call(prompt="why?", user="ana", priority="batch"), a_call(prompt="why?", user="bea", tags=["t"])]
    calls.append(a_call(prompt="why?", user="cem", priority="batch"))
    for call in calls:
        call.key = KEY
    tasks = board(Flights(speaker), calls)
    await speaker.said.wait()
    moved: list[tuple[str, str]] = []
    computation(speaker).followers.append(lambda origin: moved.append((origin.payer, origin.priority)))
    assert computation(speaker).origin.payer == "ana"
    await leave(tasks[0])
    assert moved == [("bea", "normal")]
    assert computation(speaker).origin == calls[1].origin, "the stored answer names the new owner too"
    await leave(tasks[1])
    assert moved == [("bea", "normal"), ("cem", "batch")]
    speaker.go.set()
    assert (await tasks[2]).cache.hit is None, "the remaining request counts as computed, not as a hit"
    assert (calls[2].computed_by, calls[2].saved_ms) == (None, None)


@in_loop
async def test_computation_has_the_highest_priority_of_its_requests() -> None:
    speaker = Speaker("a", held=True)
    calls = [
        a_call(prompt="why?", user=user, priority=how)
        for user, how in (("ana", "batch"), ("bea", "high"), ("cem", None))
    ]
    for call in calls:
        call.key = KEY
    flights = Flights(speaker)
    tasks = board(flights, calls[:1])
    await speaker.said.wait()
    assert computation(speaker).origin.priority == "batch"
    tasks += board(flights, calls[1:])
    await asyncio.sleep(0)
    assert (computation(speaker).origin.payer, computation(speaker).origin.priority) == ("ana", "high")
    await leave(tasks[1])
    assert (computation(speaker).origin.payer, computation(speaker).origin.priority) == ("ana", "normal")
    await leave(tasks[2])
    assert computation(speaker).origin.priority == "batch"
    speaker.go.set()
    await tasks[0]


@in_loop
async def test_joined_answer_names_its_source_and_the_saved_time() -> None:
    class Timed(Speaker):
        async def __call__(self, call: Call) -> AsyncGenerator[Event, None]:
            call.work.timings.prefill_ms, call.work.timings.decode_ms = 30.0, 12.0
            async for event in super().__call__(call):
                yield event

    speaker = Timed("a", held=True)
    calls = passengers(3)
    tasks = board(Flights(speaker), calls)
    await speaker.said.wait()
    speaker.go.set()
    await asyncio.gather(*tasks)
    assert [call.computed_by for call in calls] == [None, calls[0].id, calls[0].id]
    assert [call.saved_ms for call in calls] == [None, 42.0, 42.0]
