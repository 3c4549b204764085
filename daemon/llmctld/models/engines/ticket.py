"""One request that a model works on: its events, its end, and its cancellation.

Also exports the engine's message types that requests consist of, so that other rooms need not import the engine.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from llmctl.errors import EngineFailed, LlmctlError, from_code
from llmctld.engine import messages
from llmctld.engine.messages import (
    Adapter,
    ChatMessage,
    Embedded,
    Load,
    Overflow,
    Piece,
    Remark,
    Shortened,
    Submit,
    Texts,
)
from llmctld.runtime.log import log
from llmctld.runtime.timeouts import timeout

__all__ = [
    "Adapter", "ChatMessage", "Embedded", "FailedRequest", "Load", "LowerRung", "NoRungLeft", "Overflow", "Piece", "Remark",
    "RequestRecalled", "Shortened", "Submit", "Texts", "Ticket",
]  # fmt: skip

DROP_WAIT_S = 5.0
"""How long a cancelled request keeps its lease without the engine's confirmation. Its client has its answer long before."""


class RequestRecalled(Exception):
    """The request was returned before it started, since its engine makes room for another model. Submit it again."""


class FailedRequest(NamedTuple):
    """A request that failed after tokens were computed. `so_far`: its usage."""

    error: LlmctlError
    so_far: messages.Finished


class LowerRung(EngineFailed):
    """The engine died before its first answer; the next one runs on a lower rung."""


class NoRungLeft(EngineFailed):
    """The engine died of the same requests on every rung: another attempt is useless."""


Heard = messages.Event | EngineFailed | FailedRequest


class Owner(Protocol):
    """The model that works on the request."""

    name: str

    def drop(self, number: int) -> bool:
        """Cancels the request. False: it has already ended."""

    def move(self, number: int, user: str, priority: int) -> None:
        """Queues the request for another user, with another priority."""


class Ticket:
    """A submitted request. Iterate over it for its pieces; at the end `finished` is set, or `embedded` for texts.

    Raises EngineFailed if the process dies, RequestRecalled, and the error of a Refused.
    """

    def __init__(self, worker: Owner, number: int) -> None:
        self.finished: messages.Finished | None = None
        self.embedded: Embedded | None = None
        self.rest: list[Piece] = []
        """Pieces that came after the cancellation: the engine reports some text only twice a second."""
        self._recalled = False
        self._worker, self._number = worker, number
        self._events: asyncio.Queue[Heard] = asyncio.Queue()

    def receive(self, event: Heard) -> None:
        self._events.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[Piece | Remark]:
        while not self._has_ended():
            event = await self._events.get()
            if isinstance(event, messages.Finished):
                self.finished = event
            elif isinstance(event, Embedded):
                self.embedded = event
            elif isinstance(event, messages.Recalled):
                self._recalled = True
                raise RequestRecalled
            elif isinstance(event, messages.Refused):
                raise from_code(event.code, event.message, event.hint)
            elif isinstance(event, EngineFailed):
                raise event
            elif isinstance(event, FailedRequest):
                self.finished = event.so_far
                raise event.error
            else:
                yield event

    def _has_ended(self) -> bool:
        return self.finished is not None or self.embedded is not None or self._recalled

    def move(self, user: str, priority: int) -> None:
        """The request belongs to `user` from now on, with this priority."""
        if not self._has_ended():
            self._worker.move(self._number, user, priority)

    async def drop(self) -> None:
        """Cancels the request. Returns once the engine has released it and its usage is known."""
        if self._has_ended() or not self._worker.drop(self._number):
            return
        try:
            async with timeout(DROP_WAIT_S):
                await self._drain()
        except (asyncio.TimeoutError, EngineFailed):
            log.warning("an engine did not confirm a cancellation", model=self._worker.name)

    async def _drain(self) -> None:
        while self.finished is None:
            event = await self._events.get()
            if isinstance(event, messages.Finished):
                self.finished = event
            elif isinstance(event, FailedRequest):
                self.finished = event.so_far
            elif isinstance(event, Piece):
                self.rest.append(event)
            elif not isinstance(event, Remark):
                return
