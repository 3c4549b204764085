"""Fair turns between the clients of the hub: of each client, a few short requests are served at once, and the others wait.

Knows whose a request is and when it has ended, not what it asks.
"""

import ctypes
from collections import Counter, OrderedDict
from collections.abc import Callable
from itertools import islice

from llmctl import wire
from llmctld.requests import Key

AT_ONCE = 8
"""Requests of one client served at once. Each turn of the event loop serves so many of each client."""
WAITING = 20_000
"""Requests of one client that may wait; more are refused."""
FLOOD = 1000
"""Waiting requests of one client whose memory is worth returning to the system."""


class Turns:
    """`start` serves a request. Requests that are work do not pass here: the queues of the models hold those."""

    def __init__(self, start: Callable[[Key, wire.AnyRequest], None]) -> None:
        self._start = start
        self._served: Counter[bytes] = Counter()
        self._waiting: dict[bytes, OrderedDict[Key, wire.AnyRequest]] = {}
        self._flooded = False

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting.get(key[0], ())

    def __len__(self) -> int:
        """The number of requests that wait."""
        return sum(map(len, self._waiting.values()))

    def take(self, key: Key, request: wire.AnyRequest) -> bool:
        """Starts the request, at once or when an earlier one of its client has ended. False if too many wait already."""
        client = key[0]
        if self._served[client] < AT_ONCE:
            self._served[client] += 1
            self._start(key, request)
            return True
        waiting = self._waiting.setdefault(client, OrderedDict())
        if len(waiting) >= WAITING:
            return False
        waiting[key] = request
        self._flooded |= len(waiting) > FLOOD
        return True

    def ended(self, key: Key) -> None:
        """A request that was started has ended: the next one of its client is started."""
        client = key[0]
        if waiting := self._waiting.get(client):
            following, request = waiting.popitem(last=False)
            self._start(following, request)
        else:
            self._served[client] -= 1
        if not self._waiting.get(client):
            self._forget(client)

    def foremost(self, number: int) -> list[Key]:
        """The first `number` requests that wait, of each client."""
        return [key for waiting in self._waiting.values() for key in islice(waiting, number)]

    def withdraw(self, key: Key) -> bool:
        """Removes a request that waits. False if it does not wait."""
        if key not in self:
            return False
        del self._waiting[key[0]][key]
        return True

    def drop(self, client: bytes) -> list[Key]:
        """Removes everything that waits for this client, and returns it."""
        dropped = list(self._waiting.get(client, ()))
        self._forget(client)
        return dropped

    def drop_all(self) -> list[Key]:
        return [key for client in list(self._waiting) for key in self.drop(client)]

    def _forget(self, client: bytes) -> None:
        self._waiting.pop(client, None)
        if not self._served[client]:
            del self._served[client]
        if self._flooded and not self._waiting:
            self._flooded = False
            return_memory()


def return_memory() -> None:
    """Returns freed memory to the system. The C library keeps it otherwise; only glibc has a call for this."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
