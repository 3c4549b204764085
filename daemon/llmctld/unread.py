"""Replies that clients have not read: how many bytes of large ones wait for each, and since when a client has read nothing.

Small replies are counted by ZeroMQ (SNDHWM) alone. Knows neither requests nor what replies say.
"""

import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

import zmq

from llmctl import wire
from llmctld.runtime.log import log

MESSAGES = 4096
"""Replies of one client that the hub holds, at most."""
BYTES = 64 * 2**20
"""Bytes of large replies of one client that the hub holds before it sends no other."""
LARGE = 8192
"""Replies of so many bytes are large: MESSAGES smaller ones take at most 32 MiB."""
PATIENCE_S = 30.0
"""A client that has read nothing for so long, with so much unread, is treated as gone."""
LOOK_S = 0.05
"""How often a final reply that has no room is tried again."""
OWED = 50_000
"""Refusals of one client that wait for room; more are dropped."""


class Posted(Enum):
    """What became of a reply."""

    SENT = auto()
    FULL = auto()
    """The client has to read others first."""
    GONE = auto()
    """There is no such client any more."""


class Unread:
    """`clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._large: dict[bytes, list[tuple[zmq.MessageTracker, int]]] = {}
        self._full: dict[bytes, float] = {}
        """Since when no reply to a client could be sent."""
        self.owed: dict[bytes, deque[tuple[bytes, wire.Reply]]] = {}
        """Per client, final replies to requests that were not begun, with the ids of those: they wait for room."""

    def add(self, client: bytes, tracker: zmq.MessageTracker, size: int) -> None:
        """A large reply was sent. `tracker` tells when the system has taken it: then the hub holds it no longer."""
        if not tracker.done:
            self._large.setdefault(client, []).append((tracker, size))

    def has_room(self, client: bytes) -> bool:
        """Whether a large reply may be sent."""
        self._look(client)
        return sum(size for _, size in self._large.get(client, ())) < BYTES

    def sweep(self) -> None:
        """Forgets what has been taken, and clients that have taken everything."""
        for client in list(self._large):
            self._look(client)

    def _look(self, client: bytes) -> None:
        left = [(tracker, size) for tracker, size in self._large.pop(client, ()) if not tracker.done]
        if left:
            self._large[client] = left

    def owe(self, client: bytes, request_id: bytes, reply: wire.Reply) -> None:
        """Keeps a refusal that had no room."""
        owed = self.owed.setdefault(client, deque())
        if len(owed) < OWED:
            owed.append((request_id, reply))

    def posted(self, client: bytes, what: Posted) -> None:
        """Notes what became of a reply to this client."""
        if what is Posted.FULL:
            if client not in self._full:
                log.warning("a client does not read its replies", client=client.hex())
                self._full[client] = self._clock()
        elif what is Posted.GONE:
            self.forget(client)
        elif self._full and client in self._full and self.has_room(client):
            del self._full[client]

    def is_hopeless(self, client: bytes) -> bool:
        """Whether no reply to this client could be sent for PATIENCE_S."""
        since = self._full.get(client)
        return since is not None and self._clock() - since > PATIENCE_S

    def forget(self, client: bytes) -> None:
        self._full.pop(client, None)
        self._large.pop(client, None)
        self.owed.pop(client, None)
