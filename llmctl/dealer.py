"""Opens a client's socket to the hub and makes sure that a process of this user is at its other end, before anything is sent.

It knows ZeroMQ's events and descriptors, not requests, replies or how a hub is started.
"""

import struct
import time
from pathlib import Path

import zmq

from llmctl.errors import Unreachable
from llmctl.presence import Peer, must_be_own, peer, peer_of

WAIT_S = 15.0
"""How long a hub whose queue of new connections is full is waited for."""
NEVER_MS = 7 * 24 * 3600 * 1000
"""A lost connection stays lost, because the next one could lead to another process. The option -1 would say so too, but drops the
replies that have arrived and were not read yet."""


class NoHub(Unreachable):
    """Nothing listens at the socket, although something did a moment ago."""


def connect(path: Path, linger_ms: int) -> "tuple[zmq.Context[zmq.Socket[bytes]], zmq.Socket[bytes], Peer]":
    """A DEALER that is connected to the hub at `path`, its context, and the process at the other end.

    The peer is read from the descriptor of this very connection, which ZeroMQ tells in an event; a look at the socket file or a
    connection of our own would tell about another moment. Raises NoHub, and Unreachable for a process of another user.
    """
    context = zmq.Context()
    until = time.monotonic() + WAIT_S
    try:
        while time.monotonic() < until:
            made = _dealer(context, linger_ms)
            found = _connected(context, made, path)
            if found is not None:
                must_be_own(found, path)
                return context, made, found
            made.close(linger=0)
            if peer(path) is None:  # it waits for room in a full queue of connections
                raise NoHub(f"no hub listens at {path}", "`llmctl daemon start` starts it.")
    except BaseException:
        context.destroy(linger=0)
        raise
    context.destroy(linger=0)
    raise Unreachable(f"the hub at {path} accepted no connection within {WAIT_S:.0f} s")


def _dealer(context: "zmq.Context[zmq.Socket[bytes]]", linger_ms: int) -> "zmq.Socket[bytes]":
    made = context.socket(zmq.DEALER)
    made.set(zmq.LINGER, linger_ms)
    made.set(zmq.SNDHWM, 0)  # what is sent is bounded by the requests,
    made.set(zmq.RCVHWM, 0)  # and what comes by their acknowledgements
    made.set(zmq.RECONNECT_IVL, NEVER_MS)
    return made


def _connected(context: "zmq.Context[zmq.Socket[bytes]]", made: "zmq.Socket[bytes]", path: Path) -> Peer | None:
    """Connects the socket and returns its peer; None if there is nobody or the queue of connections is full."""
    address = f"inproc://events-{made.underlying}"
    made.monitor(address, zmq.EVENT_CONNECTED | zmq.EVENT_CLOSED)
    with context.socket(zmq.PAIR) as events:
        events.linger = 0
        events.connect(address)
        made.connect(f"ipc://{path}")
        try:
            if not events.poll(int(WAIT_S * 1000)):
                return None
            event, descriptor = struct.unpack("=Hi", events.recv_multipart()[0])
            return peer_of(descriptor) if event == zmq.EVENT_CONNECTED else None
        finally:
            made.disable_monitor()
