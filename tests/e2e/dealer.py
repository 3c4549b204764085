"""A client of the hub's socket in a few lines: frames as they are, so that a test can also send wrong ones."""

import os
from pathlib import Path
from types import TracebackType

import zmq

from llmctl import wire
from tests.e2e.house import PATIENCE_S


class Silent(AssertionError):
    """The hub said nothing in time."""


class Dealer:
    """One DEALER socket. `ask` sends a request and returns everything that came, the final reply last."""

    def __init__(self, socket: Path, timeout: float = PATIENCE_S) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.RCVHWM, 0)  # like llmctl itself: it reads everything, as soon as it comes
        self._socket.setsockopt(zmq.RCVTIMEO, int(timeout * 1000))
        self._events: zmq.Socket[bytes] = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._socket.connect(f"ipc://{socket}")

    def __enter__(self) -> "Dealer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.disable_monitor()
        self._events.close()
        self._socket.close()

    def send_frames(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def send(self, request: wire.Request, identity: bytes | None = None) -> bytes:
        """Sends `request` with this version's protocol number unless it has one; returns its id."""
        identity = os.urandom(wire.ID_BYTES) if identity is None else identity
        request.protocol = request.protocol or wire.PROTOCOL
        self.send_frames(identity, wire.encode(request))
        return identity

    def receive_frames(self) -> list[bytes]:
        try:
            return self._socket.recv_multipart()
        except zmq.Again:
            raise Silent("no reply") from None

    def await_hang_up(self) -> None:
        """Blocks until the hub has closed this connection."""
        if not self._events.poll(int(PATIENCE_S * 1000)):
            raise Silent("the connection is still open")

    def has_input(self) -> bool:
        """Whether a reply has come that was not read."""
        return bool(self._socket.poll(0))

    def drain(self) -> int:
        """Reads what has come, without waiting: the number of replies. Each must be one that a client understands."""
        number = 0
        while self.has_input():
            _, body = self.receive_frames()
            wire.decode_reply(body)
            number += 1
        return number

    def replies_before(self, identity: bytes) -> int:
        """How many replies to other requests come before the first one to this: the hub keeps the order of one client."""
        number = 0
        while (frames := self.receive_frames())[0] != identity:
            wire.decode_reply(frames[1])
            number += 1
        return number

    def receive(self, identity: bytes) -> wire.AnyReply:
        """The next reply to this request; those to others are dropped."""
        while True:
            to, body = self.receive_frames()
            if to == identity:
                return wire.decode_reply(body)

    def replies(self, identity: bytes) -> list[wire.AnyReply]:
        """Every reply up to the final one; deltas are acknowledged."""
        found: list[wire.AnyReply] = []
        while not found or not isinstance(found[-1], wire.FINAL):
            found.append(self.receive(identity))
            if isinstance(found[-1], wire.Delta):
                self.send(wire.Ack(count=1), identity)
        return found

    def in_flight(self) -> int:
        """How many questions the hub has without a final reply."""
        reply = self.ask(wire.Status())
        assert isinstance(reply, wire.Done)
        assert isinstance(reply.result, wire.HubStatus)
        return reply.result.requests_in_flight

    def ask(self, request: wire.Request) -> wire.AnyReply:
        """The final reply."""
        return self.replies(self.send(request))[-1]
