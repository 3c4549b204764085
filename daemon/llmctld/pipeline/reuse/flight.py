"""Stage `flight`: equal requests at the same time are computed once, and each gets the whole answer.

The computation belongs to none of them: it ends when the last one has left. What makes requests equal is not known here.
"""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import msgspec

from llmctl.errors import LlmctlError
from llmctl.wire import Answer
from llmctld.cache.levels.tiers import Tiers
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.call.reuse import several


def flight(tiers: Tiers) -> Link:
    """Several samples, an answer that the user brings, and what is not stored join no flight."""

    def link(next_: Stage) -> Stage:
        flights = Flights(next_)

        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            joins = call.keep and call.request.cache != "only" and call.supplied is None and not several(call.request)
            async with aclosing(flights.join(call) if joins else next_(call)) as events:
                async for event in events:
                    if isinstance(event, Answer) and call.hit == "flight":
                        tiers.joined += call.charge is None and not call.fills
                    yield event

        return stage

    return link


class Flight:
    """One computation and the queues of those who wait for it; who joins late gets first what was already there."""

    def __init__(self, first: Call, next_: Stage) -> None:
        self.work = first.work
        self._pilot = first
        self.passengers: list[asyncio.Queue[Event | BaseException]] = []
        self.landed = False
        """The answer is there; what the stages still have to do about it is nobody's to cancel."""
        self._past: list[Event | BaseException] = []
        self.task = asyncio.create_task(self._fly(first, next_))

    async def _fly(self, call: Call, next_: Stage) -> None:
        try:
            async with aclosing(next_(call)) as events:
                async for event in events:
                    self._tell(event)
        except (LlmctlError, asyncio.CancelledError) as error:
            self._tell(error)
        except Exception as error:  # noqa: BLE001 - each passenger raises it again where it is logged
            self._tell(error)

    def _tell(self, event: "Event | BaseException") -> None:
        self.landed = self.landed or isinstance(event, Answer)
        self._past.append(event)  # a failure too: somebody may board before the flight is forgotten
        for queue in self.passengers:
            queue.put_nowait(event)

    def takes(self, call: Call) -> bool:
        """Whether `call` may board. A user boards what the hub asked by itself, but shares no failure of it."""
        failed = any(isinstance(event, BaseException) for event in self._past)
        return call.charge is not None or self._pilot.charge is None or not failed

    def board(self, call: Call) -> "asyncio.Queue[Event | BaseException]":
        self._pilot.may_load |= call.may_load
        queue: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        for event in self._past:
            queue.put_nowait(event)
        self.passengers.append(queue)
        return queue


class Flights:
    """The computations in flight, by key."""

    def __init__(self, next_: Stage) -> None:
        self._next = next_
        self._flights: dict[str, Flight] = {}

    async def join(self, call: Call) -> AsyncGenerator[Event, None]:
        """The events of the flight of `call.key`, as this call's own. Sets `call.hit` to "flight" for all but the first."""
        assert call.key is not None
        flight = self._flights.get(call.key)
        if flight is None or not flight.takes(call):
            flight = self._flights[call.key] = Flight(_pilot(call), self._next)
            flight.task.add_done_callback(lambda _: self._forget(call.key, flight))
        else:
            call.work, call.hit = flight.work, "flight"
            call.explain("exact", "the same question is in flight: it joined that one")
        queue = flight.board(call)
        try:
            while True:
                event = await queue.get()
                if isinstance(event, BaseException):
                    raise _own(event)
                if isinstance(event, Answer):
                    timings = msgspec.structs.replace(event.timings)
                    answer = call.answer(event.text, event.reasoning, event.finish_reason, event.usage, timings)
                    answer.value, answer.logprobs = event.value, event.logprobs
                    if event.cache.hit:  # it was not computed: each of them got what was stored
                        call.hit, answer.cache = event.cache.hit, msgspec.structs.replace(event.cache)
                    yield answer
                    return
                yield event
        finally:
            flight.passengers.remove(queue)
            if not flight.passengers and not flight.landed and not flight.task.done():
                self._forget(call.key, flight)  # who comes now must not board a flight that is being cancelled
                flight.task.cancel()
                await asyncio.shield(asyncio.wait([flight.task]))

    def _forget(self, key: str | None, flight: "Flight | None") -> None:
        if key is not None and self._flights.get(key) is flight:
            del self._flights[key]


def _pilot(call: Call) -> Call:
    """The call that the computation runs as: the first one's question, nobody's identity, the shared work."""
    return dataclasses.replace(call, cleanup=AsyncExitStack())


def _own(error: BaseException) -> BaseException:
    """An exception of one's own: several tasks must not raise, and fill, the same object."""
    if isinstance(error, LlmctlError):
        return type(error)(error.message, error.hint, error.answer)
    return error
