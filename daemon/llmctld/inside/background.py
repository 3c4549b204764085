"""What the hub asks by itself, without a client: it goes through the same pipeline, and is charged to nobody's name.

It ends with the hub, counts as nothing for who waits, and makes way for every user. Why something is asked is the
business of whoever asks: prefetch, verification of hits, the judge.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing

import msgspec
import structlog

from llmctl.errors import LlmctlError
from llmctl.wire import ID_BYTES, Answer, Answers, Generate
from llmctld.call.call import OWN, Call, GaveWay, Stage
from llmctld.models.engines.worker import ChatMessage
from llmctld.watch import log

QUIET_S, LOOK_S = 0.2, 0.05
"""Idle is a hub that nobody has asked for so long; how often that is looked at. A script asks again sooner."""


class Background:
    """`pipeline` is set once it stands, `in_flight` (requests of users) by whoever knows."""

    def __init__(self, in_flight: Callable[[], int] = lambda: 0) -> None:
        self.pipeline: Stage | None = None
        self.in_flight = in_flight
        self._running: dict[asyncio.Task[Answer | Answers], bool] = {}
        """With whether it yields."""
        self._closed = False

    @property
    def ended(self) -> bool:
        """Whether it takes nothing any more."""
        return self._closed

    def idle(self) -> bool:
        """Whether no user waits for anything at this moment."""
        return not self.in_flight()

    async def quiet(self) -> None:
        """Returns once nobody has waited for anything for QUIET_S."""
        since = time.monotonic()
        while time.monotonic() - since < QUIET_S:
            await asyncio.sleep(LOOK_S)
            if not self.idle():
                since = time.monotonic()

    async def generate(
        self,
        request: Generate,
        charge: str = OWN,
        *,
        messages: Sequence[ChatMessage] = (),
        load: bool = False,
        yields: bool = True,
        fills: bool = False,
    ) -> Answer | Answers:
        """The answer to `request`, at priority batch, with the key that its user's own request has.

        `messages`: what the model is to see, where it was put together before (else as the request says, with the turns of
        its conversation). `load`: a model that is not loaded may be loaded for this; else it is ModelUnavailable. `yields`:
        it ends as soon as a user's request has to be computed. `fills`: for the cache's sake alone, as for a Call.
        Raises GaveWay, and what the pipeline raises.
        """
        if self._closed:
            raise GaveWay("the hub ends")
        request = msgspec.structs.replace(request, priority="batch", stream=False, timeout=None, keep_alive=None)
        call = Call(
            os.urandom(ID_BYTES).hex(), request, charge=charge, messages=list(messages), may_load=load, fills=fills
        )
        task = asyncio.create_task(self._run(call))
        self._running[task] = yields
        task.add_done_callback(self._running.pop)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.shield(asyncio.wait([task]))
            raise
        if task.cancelled():
            raise GaveWay("a user's request came first")
        return task.result()

    async def _run(self, call: Call) -> Answer | Answers:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=call.id)
        assert self.pipeline is not None
        start, outcome = time.perf_counter(), "cancelled"
        result: Answer | Answers | None = None
        try:
            async with aclosing(self.pipeline(call)) as events:
                async for event in events:
                    if isinstance(event, Answer | Answers):
                        result = event
            outcome = "done"
        except LlmctlError as error:
            outcome = error.code
            raise
        finally:
            log.info(
                "a request of the hub's own", charge=call.charge, model=call.model and call.model.name, outcome=outcome,
                hit=call.hit, ms=round((time.perf_counter() - start) * 1e3, 2),
            )  # fmt: skip
        assert result is not None  # record sees to that
        return result

    # ---- who comes first --------------------------------------------------------------------------------------------

    def give_way(self, all_: bool = False) -> None:
        """Ends what yields; `all_`: everything, since somebody needs the memory of its model."""
        for task, yields in list(self._running.items()):
            if yields or all_:
                task.cancel()

    def end(self) -> None:
        """Ends everything, and takes nothing more: the hub stops. Returns at once."""
        self._closed = True
        self.give_way(all_=True)

    async def close(self) -> None:
        """The same, and waits until each has let go of its model."""
        self.end()
        if self._running:
            await asyncio.wait(list(self._running))
