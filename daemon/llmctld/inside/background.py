"""The one way in for what the hub asks by itself: `generate` sends a request through the pipeline of all others.

Such a request ends with the hub and stands in no user's way. Why it is made is known to those that make it: prefetch, the
verification of semantic hits, the judge.
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
from llmctld.call.call import Call, GaveWay, Stage
from llmctld.call.origin import Origin
from llmctld.models.engines.ticket import ChatMessage
from llmctld.runtime.log import log

QUIET_S, LOOK_S = 0.2, 0.05
"""The hub is idle after QUIET_S without a user's request, polled every LOOK_S. A script asks again sooner than that."""


class Background:
    """`pipeline` is set once it is built. `in_flight`: the number of users' requests."""

    def __init__(self, in_flight: Callable[[], int] = lambda: 0) -> None:
        self.pipeline: Stage | None = None
        self.in_flight = in_flight
        self._running: dict[asyncio.Task[Answer | Answers], bool] = {}
        """Each task, and whether it yields to users."""
        self._closed = False

    @property
    def ended(self) -> bool:
        """Whether it takes no more requests."""
        return self._closed

    def idle(self) -> bool:
        """Whether no user's request is in flight."""
        return not self.in_flight()

    async def quiet(self) -> None:
        """Returns once the hub has been idle for QUIET_S."""
        since = time.monotonic()
        while time.monotonic() - since < QUIET_S:
            await asyncio.sleep(LOOK_S)
            if not self.idle():
                since = time.monotonic()

    async def generate(
        self,
        request: Generate,
        origin: Origin,
        *,
        messages: Sequence[ChatMessage] = (),
        load: bool = False,
        yields: bool = True,
    ) -> Answer | Answers:
        """The answer to `request`, under the key that the same request of its user has.

        `messages`: what the model sees, where it is known already; otherwise it is made of the request and its conversation.
        `load`: the model may be loaded for it; otherwise one that is not loaded is ModelUnavailable. `yields`: a user's
        request that has to be computed cancels it. Raises GaveWay, and what the pipeline raises.
        """
        if self._closed:
            raise GaveWay("the hub ends")
        request = msgspec.structs.replace(request, stream=False, timeout=None, keep_alive=None)
        call = Call(os.urandom(ID_BYTES).hex(), request, origin, messages=list(messages), may_load=load)
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
        log.debug("a request of the hub's own begins", purpose=call.origin.purpose.value)
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
                "a request of the hub's own", purpose=call.origin.purpose.value, charge=call.origin.payer,
                model=call.model and call.model.name, outcome=outcome, hit=call.hit,
                ms=round((time.perf_counter() - start) * 1e3, 2),
            )  # fmt: skip
        assert result is not None  # the stage `record` ensures it
        return result

    # ---- users come first -------------------------------------------------------------------------------------------

    def give_way(self, all_: bool = False) -> None:
        """Cancels what yields to users. `all_`: everything, since the memory of its model is needed."""
        for task, yields in list(self._running.items()):
            if yields or all_:
                task.cancel()

    def end(self) -> None:
        """Cancels everything and takes no more requests. Returns at once."""
        self._closed = True
        self.give_way(all_=True)

    async def close(self) -> None:
        """As `end`; returns once each request has released its model."""
        self.end()
        if self._running:
            await asyncio.wait(list(self._running))
