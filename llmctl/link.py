"""The connection to a running hub: sends requests, receives replies, and notices when the hub hangs or is gone.

It knows nothing of starting hubs, of options or of printing.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from llmctl import dealer, wire
from llmctl.errors import InvalidRequest, Unreachable
from llmctl.paths import LOCK
from llmctl.presence import listener, lock_is_held

LINGER_MS = 200
"""Lets a Cancel that is sent while closing arrive."""
LOOK_S = 1.5
"""The hub sends something every second; after this silence, check that it still exists."""
PATIENCE_S = 15.0
"""After this silence, a hub that exists counts as not answering."""


class Link:
    """A DEALER socket to the hub with process id `pid`. For one thread; several exchanges can run at once.

    Raises NoHub if the hub is gone, and Unreachable if a process of another user sits at its socket.
    """

    def __init__(self, path: Path, pid: int) -> None:
        self.path = path
        self.owner = os.getpid()
        self._context, self._socket, peer = dealer.connect(path, LINGER_MS)
        self.pid = peer.pid or pid
        self._inboxes: dict[bytes, deque[wire.AnyReply]] = {}

    @property
    def closed(self) -> bool:
        return self._socket.closed

    def close(self) -> None:
        """Cancels the running exchanges and closes the socket. May be called twice."""
        if self.closed:
            return
        for request_id in self._inboxes:
            self.send(request_id, wire.Cancel())
        self._socket.close()
        self._context.term()

    def is_current(self) -> bool:
        """Whether the hub of this link still listens."""
        pid = listener(self.path)
        return pid is not None and pid in (0, self.pid)

    def may_answer(self) -> bool:
        """Whether that hub still exists: it listens, or it is stopping and finishes earlier requests."""
        pid = listener(self.path)
        return lock_is_held(self.path.with_name(LOCK)) if pid is None else pid in (0, self.pid)

    def send(self, request_id: bytes, request: wire.Request) -> None:
        request.protocol = wire.PROTOCOL
        try:
            body = wire.encode(request)
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                "a text of the request is not valid UTF-8", "Convert it, for instance with `iconv -t utf-8`."
            ) from error
        except OverflowError as error:
            raise InvalidRequest("a number of the request has more than 64 bits", "Use a smaller number.") from error
        if len(body) > wire.MAX_BODY_BYTES:
            raise InvalidRequest(
                f"the request has {len(body)} bytes; the limit is {wire.MAX_BODY_BYTES}", "Send less text."
            )
        self._socket.send_multipart([request_id, body])

    def open(self, request_id: bytes) -> None:
        self._inboxes[request_id] = deque()

    def shut(self, request_id: bytes) -> None:
        self._inboxes.pop(request_id, None)

    def receive(self, request_id: bytes, seconds: float) -> wire.AnyReply | None:
        """The next reply to one request, or None if the hub sends nothing at all for `seconds`."""
        inbox = self._inboxes[request_id]
        while not inbox:
            if not self._socket.poll(int(seconds * 1000)):
                return None
            frames = self._socket.recv_multipart()
            if len(frames) == 2 and frames[0] in self._inboxes:
                self._inboxes[frames[0]].append(wire.decode_reply(frames[1]))
        return inbox.popleft()


class Exchange:
    """One request and its replies: an iterator that ends after the final one.

    `again` makes a new link. It is used once, to resend the request if the hub was stopping and had not begun it.
    """

    def __init__(
        self,
        link: Link,
        request: wire.Request,
        again: Callable[[], Link] | None = None,
        patience: float = PATIENCE_S,
    ) -> None:
        self.id = os.urandom(wire.ID_BYTES)
        self.link = link
        self.ended = False
        self._request = request
        self._again = again
        self._patience = patience
        self._unread = 0
        self._begin()

    def _begin(self) -> None:
        self.link.open(self.id)
        self.link.send(self.id, self._request)

    def __iter__(self) -> "Exchange":
        return self

    def __next__(self) -> wire.AnyReply:
        if self.ended:
            raise StopIteration
        reply = self._wait()
        if isinstance(reply, wire.Failed) and reply.retry and self._again is not None:
            self.link.shut(self.id)
            self.link, self._again = self._again(), None
            self._begin()
            reply = self._wait()
        if isinstance(reply, wire.Delta):
            self._acknowledge()
        elif isinstance(reply, wire.FINAL):
            self._end()
        return reply

    def _wait(self) -> wire.AnyReply:
        since = time.monotonic()
        while True:
            if self.link.closed:
                self._end()
                raise Unreachable("the connection to the hub was closed before it answered", "Send the request again.")
            try:
                reply = self.link.receive(self.id, min(LOOK_S, self._patience))
            except (ValueError, RecursionError) as error:  # msgspec.DecodeError is a ValueError
                self._end()
                raise Unreachable(
                    f"the hub (pid {self.link.pid}) sent a reply that cannot be decoded: {error}"
                ) from error
            if reply is not None:
                return reply
            self._look(time.monotonic() - since)

    def _look(self, silent: float) -> None:
        if not self.link.may_answer():
            self._end()
            raise Unreachable(f"the hub (pid {self.link.pid}) ended before it answered")
        if silent >= self._patience:
            self._end()
            raise Unreachable(f"the hub (pid {self.link.pid}) does not answer: nothing received for {silent:.0f} s")

    def _acknowledge(self) -> None:
        self._unread += 1
        if self._unread >= wire.WINDOW // 2:
            self.link.send(self.id, wire.Ack(count=self._unread))
            self._unread = 0

    def _end(self) -> None:
        self.ended = True
        self.link.shut(self.id)

    def cancel(self, wait: float = 0.0) -> wire.AnyReply | None:
        """Cancels the request if it has not ended. Returns the final reply if it comes within `wait` seconds."""
        if self.ended or self.link.closed:
            return None
        self.link.send(self.id, wire.Cancel())
        until = time.monotonic() + wait
        reply: wire.AnyReply | None = None
        while (left := until - time.monotonic()) > 0:
            try:
                reply = self.link.receive(self.id, left)
            except (ValueError, RecursionError):  # a reply that cannot be decoded says nothing of how the request ended
                continue
            if reply is None or isinstance(reply, wire.FINAL):
                break
        self._end()
        return reply if isinstance(reply, wire.FINAL) else None


def call(link: Link, request: wire.Request, patience: float = PATIENCE_S) -> wire.AnyReply:
    """The final reply to one request."""
    for reply in Exchange(link, request, patience=patience):
        if isinstance(reply, wire.FINAL):
            return reply
    raise AssertionError("an exchange ends with a final reply")
