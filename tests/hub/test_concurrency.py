"""Which request may use an endpoint next, and the idle limit on its answer."""

import asyncio

import pytest
from llmctld.models.remote.concurrency import PrioritySemaphore
from llmctld.models.remote.http.idle import IdleLimit, Silence

from tests.hub.scene import in_loop


@in_loop
async def test_waiting_requests_run_by_priority_then_in_order() -> None:
    turns, order = PrioritySemaphore(1), []

    async def work(name: str, priority: int) -> None:
        async with turns.slot(priority):
            order.append(name)
            await asyncio.sleep(0)

    names = [("first", 2), ("batch", 2), ("one", 1), ("other", 1), ("high", 0)]
    await asyncio.gather(*(work(*each) for each in names))
    assert order == ["first", "high", "one", "other", "batch"]


@in_loop
async def test_waiting_request_can_be_moved_up() -> None:
    turns, order = PrioritySemaphore(1), []

    async def work(number: int) -> None:
        async with turns.slot(2, number):
            order.append(number)
            await asyncio.sleep(0)  # now the others are waiting
            if number == 1:
                turns.move(3, 0)

    await asyncio.gather(*(work(number) for number in (1, 2, 3)))
    assert order == [1, 3, 2]


@in_loop
async def test_cancelled_request_frees_its_slot_for_the_next() -> None:
    turns = PrioritySemaphore(1)

    async def work() -> None:
        async with turns.slot(1):
            await asyncio.sleep(0)

    for steps in range(6):  # cancelled at each of its steps, also just after its turn came
        holder, leaver, last = (asyncio.create_task(work()) for _ in range(3))
        for _ in range(steps):
            await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.gather(holder, leaver, last, return_exceptions=True)
        assert last.exception() is None
    async with turns.slot(1):
        assert turns._free == 0
    assert (turns._free, [turn for *_, turn in turns._waiting if not turn.done()]) == (1, [])


@in_loop
async def test_idle_limit_ends_a_silent_block_and_restarts_on_content(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Silence, match=r"0\.05 s"):
        async with IdleLimit(0.05):
            await asyncio.Event().wait()
    loop, now = asyncio.get_running_loop(), 0.0
    monkeypatch.setattr(loop, "time", lambda: now)
    async with IdleLimit(60) as idle:
        for _ in range(5):
            now += 59
            await asyncio.sleep(0)  # timers that are due run here
            idle.restart()
    await asyncio.sleep(0)  # and no cancellation is left behind


@in_loop
async def test_outside_cancellation_is_not_reported_as_silence() -> None:
    async def listen() -> None:
        async with IdleLimit(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
