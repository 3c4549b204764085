"""An HTTP reply whose headers have arrived: its body, or its events.

Does not interpret events.
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
from llmctld.runtime.timeouts import timeout

if TYPE_CHECKING:
    import httpx2

MOST_JSON = 256 * 2**20
"""Maximum size of a reply that is not streamed."""
REST_S = 0.02
"""Seconds to wait for data behind the end of an answer."""


class HttpReply:
    """A reply whose headers have arrived."""

    def __init__(self, who: str, response: "httpx2.Response", idle: IdleLimit, clean: Callable[[str], str]) -> None:
        self._who, self._response, self._idle, self._clean = who, response, idle, clean

    def header(self, name: str) -> str:
        return str(self._response.headers.get(name, ""))

    def restart_limit(self) -> None:
        """Content arrived: restarts the limit on silence."""
        self._idle.restart()

    async def body(self, most: int = MOST_JSON, whole: bool = True) -> bytes:
        """The whole body. Raises AttemptFailed if it exceeds `most`, or the first bytes if `whole` is false."""
        found = bytearray()
        async for piece in self._response.aiter_bytes():
            found += piece
            if len(found) > most:
                if not whole:
                    break
                raise AttemptFailed(EngineFailed(f"{self._who} sent more than {most} bytes"), again=False)
        return bytes(found[:most])

    async def json(self, most: int = MOST_JSON) -> Any:
        """The JSON value. Raises AttemptFailed if it is invalid, or an error in place of the answer."""
        try:
            found = loads(await self.body(most))
        except ValueError as error:
            message = f"{self._who} sent an invalid answer ({error})"
            raise AttemptFailed(EngineFailed(message, refusal.ASK_AGAIN), again=False) from error
        if mapping(found).get("error"):
            said = refusal.of_json(found)
            said = said._replace(words=self._clean(said.words))
            raise refusal.error_of(self._who, refusal.status_in(said), said)
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
            message = f"{self._who} sent {kind or 'a reply'} instead of a stream of events: {said}"
            raise AttemptFailed(EngineFailed(message, "Must the address end with /v1?"), again=False)


async def drain(stream: AsyncIterator[list[Event]]) -> None:
    """Reads to the end of the reply if it comes at once, so that the connection can be reused."""

    import httpx2

    with suppress(asyncio.TimeoutError, AttemptFailed, httpx2.HTTPError):
        async with timeout(REST_S):
            async for _ in stream:
                pass
