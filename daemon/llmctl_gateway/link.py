"""An asynchronous link to one running hub: requests out, replies in, for any number of requests at once on one event loop.

It knows frames and messages (daemon/PROTOCOL.md), and nothing of HTTP, models or starting hubs.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import zmq

from llmctl import dealer, wire
from llmctl.errors import InvalidRequest, Unreachable
from llmctl.paths import LOCK
from llmctl.presence import listener, lock_is_held

LINGER_MS = 200
"""So that a Cancel that was sent just before the end arrives."""
LOOK_S = 1.5
"""The hub says something each second for each request: after so long without a word, it is looked for."""
PATIENCE_S = 15.0
"""A hub that is there and says nothing for so long does not answer."""
BURST = 64
"""Messages taken from the socket before other work gets its turn."""


class Replies:
    """The replies to one request, an async iterator that ends after the final one. Raises Unreachable when the hub is gone."""

    def __init__(self, request_id: bytes, send: Callable[[bytes, wire.Request], None]) -> None:
        self.id = request_id
        self.ended = False
        self._send = send
        self._inbox: asyncio.Queue[wire.AnyReply | Unreachable] = asyncio.Queue()
        self._unread = 0

    def __aiter__(self) -> "Replies":
        return self

    async def __anext__(self) -> wire.AnyReply:
        if self.ended:
            raise StopAsyncIteration
        reply = await self._inbox.get()
        if isinstance(reply, Unreachable):
            self.ended = True
            raise reply
        if isinstance(reply, wire.Delta):
            self._acknowledge()
        self.ended = isinstance(reply, wire.FINAL)
        return reply

    def _acknowledge(self) -> None:
        """What is not acknowledged bounds what the hub sends: a slow reader is sent fewer and longer pieces."""
        self._unread += 1
        if self._unread >= wire.WINDOW // 2:
            self._send(self.id, wire.Ack(count=self._unread))
            self._unread = 0

    def cancel(self) -> None:
        """Cancels the request; its final reply still comes: `Cancelled`, or `Done` if it was faster."""
        if not self.ended:
            self._send(self.id, wire.Cancel())

    def put(self, reply: wire.AnyReply | Unreachable) -> None:
        """What the link has received for this request."""
        self._inbox.put_nowait(reply)


class Link:
    """A DEALER to the hub that listens at `path`. Needs a running loop. `async with Link(path) as link:` closes it.

    Raises Unreachable when no hub listens there, or one of another user does.
    """

    def __init__(self, path: Path, patience: float = PATIENCE_S) -> None:
        self._path, self._patience = path, patience
        self._loop = asyncio.get_running_loop()
        self._replies: dict[bytes, Replies] = {}
        self._heard = time.monotonic()
        self._context, self._socket, peer = dealer.connect(path, LINGER_MS)
        self.pid = peer.pid
        self._descriptor = int(self._socket.get(zmq.FD))
        self._loop.add_reader(self._descriptor, self._receive)
        self._watching = self._loop.create_task(self._watch())

    async def __aenter__(self) -> "Link":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @property
    def closed(self) -> bool:
        """A link is closed by `close`, or because its hub is gone: then a new one may reach the next hub."""
        return self._socket.closed

    @asynccontextmanager
    async def ask(self, request: wire.Request) -> AsyncIterator[Replies]:
        """Sends a request; the block reads its replies. A request that has not ended when the block is left is cancelled.

        Raises InvalidRequest when the request cannot be sent.
        """
        replies = Replies(os.urandom(wire.ID_BYTES), self._send)
        if not self._replies:
            self._heard = time.monotonic()  # nobody has waited for a word until now
        self._replies[replies.id] = replies
        try:
            self._send(replies.id, request)
            yield replies
        finally:
            del self._replies[replies.id]
            if not self.closed:
                replies.cancel()

    async def call(self, request: wire.Request) -> wire.Done | wire.Failed | wire.Cancelled:
        """The final reply to a request."""
        async with self.ask(request) as replies:
            async for reply in replies:
                if isinstance(reply, wire.FINAL):
                    return reply
        raise AssertionError("replies end with a final one")

    async def close(self) -> None:
        """Cancels what is under way; whoever still reads gets Unreachable. Harmless when done twice."""
        if not self.closed:
            for replies in self._replies.values():
                replies.cancel()
            self._end("the link to the hub was closed before it answered")
        await asyncio.to_thread(self._context.term)  # it waits until what was sent last is out

    # ---- the socket -------------------------------------------------------------------------------------------------

    def _send(self, request_id: bytes, request: wire.Request) -> None:
        if self.closed:
            raise Unreachable(f"the link to the hub (pid {self.pid}) is closed")
        request.protocol = wire.PROTOCOL
        try:
            body = wire.encode(request)
        except UnicodeEncodeError as error:
            raise InvalidRequest("a text of the request is not valid UTF-8", "Only UTF-8 text can be sent.") from error
        except OverflowError as error:
            raise InvalidRequest("a number of the request has more than 64 bits", "Use a smaller number.") from error
        if len(body) > wire.MAX_BODY_BYTES:
            raise InvalidRequest(f"the request has {len(body)} bytes; the limit is {wire.MAX_BODY_BYTES}")
        self._socket.send_multipart([request_id, body], zmq.NOBLOCK)
        self._loop.call_soon(self._receive)  # the descriptor tells of changes only, and sending may have taken one

    def _receive(self) -> None:
        for _ in range(BURST):
            if self.closed or not int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
                return
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
            self._heard = time.monotonic()
            if len(frames) == 2 and (replies := self._replies.get(frames[0])) is not None:
                replies.put(self._decoded(frames[1]))
        self._loop.call_soon(self._receive)

    def _decoded(self, body: bytes) -> wire.AnyReply | Unreachable:
        try:
            return wire.decode_reply(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Unreachable(f"the hub (pid {self.pid}) sent a reply that cannot be decoded: {error}")

    async def _watch(self) -> None:
        """Looks for a hub that has fallen silent while somebody waits; ends the link when it is gone or does not answer."""
        while True:
            await asyncio.sleep(min(LOOK_S, self._patience))
            silent = time.monotonic() - self._heard
            if not self._replies or silent < min(LOOK_S, self._patience):
                continue
            if not self._may_answer():
                self._end(f"the hub (pid {self.pid}) ended before it answered")
            elif silent >= self._patience:
                self._end(f"the hub (pid {self.pid}) does not answer: nothing received for {silent:.0f} s")

    def _may_answer(self) -> bool:
        """Whether the hub is there: it listens, or it stops and still answers what it was asked before."""
        pid = listener(self._path)
        return lock_is_held(self._path.with_name(LOCK)) if pid is None else pid in (0, self.pid)

    def _end(self, why: str) -> None:
        self._watching.cancel()
        self._loop.remove_reader(self._descriptor)
        self._socket.close()
        for replies in self._replies.values():
            replies.put(Unreachable(why))
