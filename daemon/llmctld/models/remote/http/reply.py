"""An HTTP answer whose head has come: its body, or the events in it.

It knows no request, and nothing of what an event means. httpx2 is loaded by who makes connections.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from llmctl.errors import EngineFailed
from llmctld.models.remote.http import refusal
from llmctld.models.remote.http.breaker import AttemptFailed
from llmctld.models.remote.http.idle import IdleLimit
from llmctld.models.remote.http.lenient_json import loads, mapping
from llmctld.models.remote.http.sse import MOST, Event, EventReader, TooLong

if TYPE_CHECKING:
    import httpx2

MOST_JSON = 256 * 2**20
"""Bytes of an answer that is no stream."""
REST_S = 0.02
"""For what an endpoint sends behind the end of an answer."""


class HttpReply:
    """An answer whose head has come."""

    def __init__(self, who: str, response: "httpx2.Response", idle: IdleLimit, clean: Callable[[str], str]) -> None:
        self._who, self._response, self._idle, self._clean = who, response, idle, clean

    def header(self, name: str) -> str:
        return str(self._response.headers.get(name, ""))

    def heard(self) -> None:
        """A part of the answer came: until then whatever else comes is silence."""
        self._idle.heard()

    async def body(self, most: int = MOST_JSON, whole: bool = True) -> bytes:
        """All of it. Raises AttemptFailed when it is longer than `most`, unless less than the `whole` will do."""
        found = bytearray()
        async for piece in self._response.aiter_bytes():
            found += piece
            if len(found) > most:
                if not whole:
                    break
                raise AttemptFailed(EngineFailed(f"{self._who} answers with more than {most} bytes"), again=False)
        return bytes(found[:most])

    async def json(self, most: int = MOST_JSON) -> Any:
        """The value that it is. Raises AttemptFailed for what is none, and what a failure in place of an answer means."""
        try:
            found = loads(await self.body(most))
        except ValueError as error:
            message = f"{self._who} answers with something that is not what was asked for ({error})"
            raise AttemptFailed(EngineFailed(message, refusal.ASK_AGAIN), again=False) from error
        if mapping(found).get("error"):
            said = refusal.of_json(found)
            said = said._replace(words=self._clean(said.words))
            raise refusal.refused(self._who, refusal.status_in(said), said)
        return found

    async def events(self) -> AsyncIterator[list[Event]]:
        """The events of a stream, in batches as they arrive; any other JSON answer is one event.

        The content type is ignored: servers label streams as JSON, text or HTML, and JSON as a stream. Raises AttemptFailed for
        a body that is neither.
        """
        kind = self.header("content-type").partition(";")[0].strip().lower()
        reader, events = EventReader(MOST_JSON if kind == "application/json" else MOST), 0
        try:
            async for piece in self._response.aiter_bytes():
                if found := reader.feed(piece):
                    events += len(found)
                    yield found
        except TooLong as error:
            raise AttemptFailed(EngineFailed(f"{self._who} sends {error}", refusal.ASK_AGAIN), again=False) from error
        if found := reader.end():
            yield found
        elif reader.strange and not events:
            said = self._clean(refusal.read(reader.strange).words)
            message = f"{self._who} answers with {kind or 'something'}, and not with a stream of events: {said}"
            raise AttemptFailed(EngineFailed(message, "Does the address have to end with /v1?"), again=False)


async def rest(stream: AsyncIterator[list[Event]]) -> None:
    """Reads on to the end of an answer, if that comes at once: then its connection serves the next request too, which costs
    one less to be made, and to be agreed upon where there is TLS."""

    import httpx2

    async def read() -> None:
        async for _ in stream:
            pass

    with suppress(asyncio.TimeoutError, AttemptFailed, httpx2.HTTPError):
        await asyncio.wait_for(read(), REST_S)
