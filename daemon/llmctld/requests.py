"""The requests under way: what each client has been sent, their number, and how they end when the hub stops.

server.py reads the socket and calls the handlers.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from llmctl import wire
from llmctld.call.call import Call
from llmctld.runtime.log import log
from llmctld.unread import Posted

Key = tuple[bytes, bytes]
"""(client, request id)"""


class Pending:
    """One request and what its client has been sent: at most WINDOW unread deltas; later ones are joined meanwhile."""

    def __init__(
        self, key: Key, request: wire.AnyRequest, call: Call | None, send: Callable[[Key, wire.Reply], Posted]
    ) -> None:
        self.key, self.request, self.call, self._send = key, request, call, send
        self.id = key[1].hex()
        self.task: asyncio.Task[None] | None = None
        self.abandoned = False
        """Whether its client has read nothing for too long: the final reply is not sent."""
        self._unread = 0
        self._waiting: list[wire.Delta] = []
        """At most one per sample; only the last one still grows."""

    @property
    def name(self) -> str:
        model = self.call.model.name if self.call and self.call.model else self.request.subject
        return f"{self.id[:12]} ({model or '?'})"

    def reply(self, reply: wire.Reply) -> None:
        """Sends what is not the final reply. If its client reads too little, a delta waits, and others are left out."""
        if not isinstance(reply, wire.Delta):
            self.deliver(reply)
        elif isinstance(self.request, wire.Generate) and self.request.stream:
            if self._waiting and self._waiting[-1].index == reply.index:
                last = self._waiting[-1]
                text, reasoning = last.text + reply.text, last.reasoning + reply.reasoning
                self._waiting[-1] = wire.Delta(text=text, reasoning=reasoning, index=reply.index)
            else:
                self._waiting.append(reply)
            if self._unread < wire.WINDOW:
                self._flush()

    def deliver(self, reply: wire.Reply) -> bool:
        """Sends a reply after the deltas that wait. False if there is no room for it, since the client reads too little."""
        return self._flush() and self._post(reply)

    def acknowledge(self, count: int) -> None:
        self._unread = max(0, self._unread - max(0, count))
        if self._unread < wire.WINDOW:
            self._flush()

    def beat(self) -> None:
        """Tells the client that the request is under way."""
        self._post(wire.Progress(state=self.call.work.state if self.call else "working"))

    def _flush(self) -> bool:
        waiting, self._waiting = self._waiting, []
        for number, delta in enumerate(waiting):
            if delta.text or delta.reasoning:
                if not self._post(delta):
                    self._waiting = waiting[number:]
                    return False
                self._unread += 1
        return True

    def _post(self, reply: wire.Reply) -> bool:
        posted = self._send(self.key, reply)
        if posted is Posted.GONE:
            self.cancel()  # the work is not needed
        return posted is not Posted.FULL

    def cancel(self) -> None:
        """Cancels in the next turn of the loop: a task that is cancelled before it runs would end without a final reply."""
        if self.task is not None:
            self.task.get_loop().call_soon(self.task.cancel)


class Requests:
    """All requests under way. `stopping`: new ones are refused. `stopped` is set when all that are work have ended.

    `per_client`: how many of them that are work one client may have (None: any number).
    """

    def __init__(self, per_client: int | None = None) -> None:
        self.per_client = per_client
        self._pending: dict[Key, Pending] = {}
        self._work: Counter[bytes] = Counter()
        self._when_stopping: list[Callable[[], None]] = []
        self._endings: list[asyncio.Task[list[str]]] = []
        self.stopping = False
        self.stopped = asyncio.Event()

    def __iter__(self) -> Iterator[Pending]:
        return iter(list(self._pending.values()))

    def __contains__(self, key: Key) -> bool:
        return key in self._pending

    def get(self, key: Key) -> Pending | None:
        return self._pending.get(key)

    def add(self, pending: Pending) -> None:
        self._pending[pending.key] = pending
        if pending.request.is_work:
            self._work[pending.key[0]] += 1

    def remove(self, pending: Pending) -> None:
        del self._pending[pending.key]
        if pending.request.is_work:
            client = pending.key[0]
            self._work[client] -= 1
            if not self._work[client]:
                del self._work[client]

    def is_full(self, client: bytes) -> bool:
        """Whether this client has as many requests under way as one client may have."""
        return self.per_client is not None and self._work.get(client, 0) >= self.per_client

    def of(self, client: bytes) -> list[Pending]:
        return [pending for key, pending in self._pending.items() if key[0] == client]

    def in_flight(self) -> int:
        """The number of requests that are work (`wire.Request.is_work`)."""
        return self._work.total()

    def delaying(self) -> int:
        """The number of requests that the hub's own work waits for."""
        return sum(pending.request.delays_background for pending in self._pending.values())

    def when_stopping(self, do: Callable[[], None]) -> None:
        """Calls `do` once, when new requests are refused; at once if they already are."""
        if self.stopping:
            do()
        else:
            self._when_stopping.append(do)

    async def stop(self, timeout: float) -> list[str]:
        """Refuses new requests, waits at most `timeout` seconds for those that are work, cancels the rest and returns their
        names.

        Continues if its caller is cancelled: a hub that refuses requests must end.
        """
        ending = asyncio.create_task(self._end(timeout))
        self._endings.append(ending)
        return await asyncio.shield(ending)

    async def _end(self, timeout: float) -> list[str]:
        if not self.stopping:
            self.stopping = True
            for do in self._when_stopping:
                do()
        running = {each.task: each for each in self._pending.values() if each.request.is_work and each.task}
        pending = (await asyncio.wait(running, timeout=timeout))[1] if running else set()
        cancelled = [running[task].name for task in pending]
        for task in pending:
            running[task].cancel()
        if pending:
            await asyncio.wait(pending)
            log.warning("requests were cancelled because the hub stops", requests=cancelled)
        self.stopped.set()
        return cancelled

    async def close(self) -> None:
        """Ends the other requests too, so that each client gets its final reply."""
        others = [pending.task for pending in self._pending.values() if pending.task is not None]
        if others:
            await asyncio.wait(others, timeout=1.0)
            for pending in self:
                pending.cancel()
            await asyncio.wait(others, timeout=1.0)
