"""Stage `flight`: equal requests at the same time are computed once, and each gets the whole answer.

The computation belongs to the first of them, whose Origin pays for it. When that one is cancelled it goes over to the next;
when the last one is, it ends. What makes requests equal is not known here.
"""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import NamedTuple

import msgspec

from llmctl.errors import LlmctlError
from llmctl.wire import Answer, CacheUse
from llmctld.cache.levels.tiers import Tiers
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.call.receiver import served, taken_over
from llmctld.call.reuse import several


def flight(tiers: Tiers) -> Link:
    """Several samples, an answer that the user brings, and what is not stored join no flight."""

    def link(next_: Stage) -> Stage:
        flights = Flights(next_)

        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            joins = call.keep and call.request.cache != "only" and call.supplied is None and not several(call.request)
            async with aclosing(flights.join(call) if joins else next_(call)) as events:
                async for event in events:
                    if isinstance(event, Answer) and call.hit == "flight" and call.origin.wants_text:
                        tiers.joined()
                    yield event

        return stage

    return link


Heard = asyncio.Queue[Event | BaseException]


class Passenger(NamedTuple):
    """A call that waits for the computation, and what it has been sent."""

    call: Call
    heard: Heard


class Flight:
    """One computation, and the calls that wait for it. `owner`: the one that it is computed for, who pays."""

    def __init__(self, first: Call, next_: Stage) -> None:
        self.owner, self.work = first, first.work
        self._computation = dataclasses.replace(first, cleanup=AsyncExitStack(), followers=[])
        self.passengers: list[Passenger] = []
        self.landed = False
        """The answer is there; what the stages still do with it is not cancelled."""
        self._past: list[Event | BaseException] = []
        self.task = asyncio.create_task(self._fly(next_))

    async def _fly(self, next_: Stage) -> None:
        try:
            async with aclosing(next_(self._computation)) as events:
                async for event in events:
                    self._tell(event)
        except (LlmctlError, asyncio.CancelledError) as error:
            self._tell(error)
        except Exception as error:  # noqa: BLE001 - each passenger raises it again, where it is logged
            self._tell(error)

    def _tell(self, event: Event | BaseException) -> None:
        self.landed = self.landed or isinstance(event, Answer)
        self._past.append(event)  # a failure too: a call may board before the flight is forgotten
        for passenger in self.passengers:
            passenger.heard.put_nowait(event)

    @property
    def saved_ms(self) -> float | None:
        """What was saved where the answer was not computed but found behind the flight."""
        return self._computation.saved_ms

    def takes(self, call: Call) -> bool:
        """Whether `call` may board. A user's request may board the hub's own work, but does not share its failure."""
        failed = any(isinstance(event, BaseException) for event in self._past)
        return call.origin.own_work or not self._computation.origin.own_work or not failed

    def board(self, call: Call) -> Passenger:
        """A late one hears first what was sent before."""
        self._computation.may_load |= call.may_load
        passenger = Passenger(call, asyncio.Queue())
        for event in self._past:
            passenger.heard.put_nowait(event)
        self.passengers.append(passenger)
        self._follow()
        return passenger

    def leave(self, passenger: Passenger) -> None:
        self.passengers.remove(passenger)
        if self.passengers and not self.landed:
            if passenger.call is self.owner:
                self.owner = self.passengers[0].call
                self.owner.hit = None
                self.owner.explain(
                    "flight", f"{passenger.call.id} was cancelled: this request takes over its computation"
                )
            self._follow()

    def _follow(self) -> None:
        """Gives the computation the origin of its owner, and the most urgent priority of all that wait for it."""
        origin = self.owner.origin
        for passenger in self.passengers:
            origin = origin.with_urgency_of(passenger.call.origin)
        self._computation.hand_over_to(origin)


class Flights:
    """The computations in flight, by key."""

    def __init__(self, next_: Stage) -> None:
        self._next = next_
        self._flights: dict[str, Flight] = {}

    async def join(self, call: Call) -> AsyncGenerator[Event, None]:
        """The events of the flight of `call.key`, as this call's own. Sets `call.hit` to "flight" for all but the owner."""
        assert call.key is not None
        flight = self._flights.get(call.key)
        if flight is None or not flight.takes(call):
            flight = self._flights[call.key] = Flight(call, self._next)
            flight.task.add_done_callback(lambda _: self._forget(call.key, flight))
        else:
            call.work, call.hit = flight.work, "flight"
            call.explain("flight", f"joined the equal request {flight.owner.id}, which is being computed")
        passenger = flight.board(call)
        try:
            while True:
                event = await passenger.heard.get()
                if isinstance(event, BaseException):
                    raise _own(event)
                if isinstance(event, Answer):
                    yield _answer(flight, call, event)
                    return
                yield event
        finally:
            flight.leave(passenger)
            if not flight.passengers and not flight.landed and not flight.task.done():
                self._forget(call.key, flight)  # a call that comes now must not board a flight that is being cancelled
                flight.task.cancel()
                await asyncio.shield(asyncio.wait([flight.task]))

    def _forget(self, key: str | None, flight: Flight | None) -> None:
        if key is not None and self._flights.get(key) is flight:
            del self._flights[key]


def _answer(flight: Flight, call: Call, computed: Answer) -> Answer:
    if computed.cache.hit:  # it was not computed: each gets what was stored
        call.hit, call.saved_ms = computed.cache.hit, flight.saved_ms
        return served(computed, call, msgspec.structs.replace(computed.cache), computed.timings)
    if call is flight.owner:
        return taken_over(computed, call)
    call.computed_by, call.saved_ms = flight.owner.id, computed.timings.prefill_ms + computed.timings.decode_ms
    call.explain("flight", f"{call.computed_by} computed the answer; this saved {call.saved_ms:.0f} ms of computing")
    return served(computed, call, CacheUse(hit=call.hit, key=call.key), computed.timings)


def _own(error: BaseException) -> BaseException:
    """A copy: several tasks must not raise, and fill in, the same object."""
    if isinstance(error, LlmctlError):
        return type(error)(error.message, error.hint, error.answer)
    return error
