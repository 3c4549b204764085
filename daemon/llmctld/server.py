"""The hub's socket: a ROUTER, one task per request, and one final reply for each. The only place where exceptions become Failed.

It knows frames and messages, neither models nor caches.
"""

import asyncio
import logging
import time
from pathlib import Path

import msgspec
import structlog
import zmq

from llmctl import wire
from llmctl.errors import Internal, LlmctlError, Storage
from llmctl.secret import hide
from llmctld import finals
from llmctld.call.call import Call
from llmctld.handlers.hub import Hub
from llmctld.handlers.table import HANDLERS, call_of
from llmctld.requests import Key, Pending
from llmctld.runtime import descriptors
from llmctld.runtime.log import log, write_counts
from llmctld.turns import WAITING, Turns
from llmctld.unread import LARGE, LOOK_S, MESSAGES, Posted, Unread

HANDSHAKE_MS = 10_000
"""A connection that does not speak ZeroMQ within this time is closed."""
BURST = 64
"""Messages taken from the socket before other work gets its turn. The socket gives one of each client in turn."""
UNREAD = 1000
"""Messages of one client held in memory before they are read; then that client's sends block."""
POLLIN, NOBLOCK, MORE = int(zmq.POLLIN), int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
"""As plain integers: an operation on pyzmq's enums takes a microsecond, and a stored answer needed thirty of them."""


class Server:
    """Binds `socket_path` and serves until `close`. Needs a running loop. Raises Storage if the socket cannot be bound."""

    def __init__(self, hub: Hub, socket_path: Path) -> None:
        self._hub, self._requests = hub, hub.requests
        self._turns, self._unread, self._will_receive = Turns(self._begin), Unread(), False
        self._path = socket_path.parent.resolve() / socket_path.name  # the folder may be a link in /tmp that is removed
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.SNDHWM, MESSAGES)
        self._socket.copy_threshold = LARGE
        self._socket.set(zmq.RCVHWM, UNREAD)
        self._socket.set(zmq.LINGER, 1000)
        self._socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self._socket.set(zmq.MAXMSGSIZE, wire.MAX_BODY_BYTES)
        try:
            self._path.unlink(missing_ok=True)  # stale: the lock is ours
            self._socket.bind(f"ipc://{socket_path}")
            self._inode = self._path.stat().st_ino
        except (OSError, zmq.ZMQError) as error:
            self._context.destroy(linger=0)
            hint = "Remove the file there, or set LLMCTL_HOME to another folder."
            raise Storage(f"the hub cannot listen at {socket_path}: {error.strerror}", hint) from error
        self._descriptor = int(self._socket.get(zmq.FD))
        self._loop.add_reader(self._descriptor, self._receive)
        self._beating = asyncio.create_task(self._beat())
        self._settling: asyncio.Task[None] | None = None
        self._requests.when_stopping(self._remove_socket)

    # ---- the socket -------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Reads what is there, at most BURST messages. The descriptor signals changes only, so every send is followed by
        another look.
        """
        if self._will_receive:
            return
        for _ in range(BURST):
            if not self._has_input():
                return
            self._accept(self._socket.recv_multipart(NOBLOCK))
        self._receive_soon()

    def _receive_soon(self) -> None:
        """Reads in the next turn of the loop, once: a second read there would take the turn of other work."""
        if not self._will_receive:
            self._will_receive = True
            self._loop.call_soon(self._receive_next)

    def _receive_next(self) -> None:
        self._will_receive = False
        self._receive()

    def _has_input(self) -> bool:
        return not self._socket.closed and bool(int(self._socket.get(zmq.EVENTS)) & POLLIN)

    def _send(self, key: Key, reply: wire.Reply) -> Posted:
        posted = self._post(key, reply)
        self._unread.posted(key[0], posted)
        if posted is Posted.GONE:
            self._turns.drop(key[0])
        return posted

    def _post(self, key: Key, reply: wire.Reply) -> Posted:
        if isinstance(reply, wire.Notice):
            reply.text = hide(reply.text)
        try:
            body = wire.encode(
                reply
            )  # before the first frame: an answer that cannot be encoded must leave no half message
            large = len(body) >= LARGE
            if large and not self._unread.has_room(key[0]):
                return Posted.FULL
            for frame in key:
                self._socket.send(frame, MORE)
            if large:
                self._unread.add(key[0], self._socket.send(body, NOBLOCK, copy=False, track=True), len(body))
            else:
                self._socket.send(body, NOBLOCK)
        except zmq.Again:
            return Posted.FULL
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                log.error("a reply could not be sent", error=str(error))
            return Posted.GONE
        finally:
            if not self._will_receive and self._has_input():
                self._receive_soon()
        return Posted.SENT

    def _accept(self, frames: list[bytes]) -> None:
        if len(frames) != 3 or len(frames[1]) != wire.ID_BYTES:
            log.warning("a message with a wrong frame was dropped", frames=len(frames))
            return
        key, body = (frames[0], frames[1]), frames[2]
        try:
            request = wire.decode_request(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse(key, finals.undecodable(body, error))
            return
        self._hub.watch.stir()
        if request.protocol != wire.PROTOCOL and not request.any_protocol:
            self._refuse(key, finals.foreign(request.protocol))
        elif isinstance(request, wire.Cancel):
            if (pending := self._requests.get(key)) is not None:
                pending.cancel()
            elif self._turns.withdraw(key):
                self._refuse(key, finals.cancelled(None))
        elif isinstance(request, wire.Ack):
            if (pending := self._requests.get(key)) is not None:
                pending.acknowledge(request.count)
        elif self._requests.stopping and not request.any_protocol:
            self._refuse(key, finals.stopping())
        elif key in self._requests:
            return  # an id under way is the same request sent again
        elif request.is_work and descriptors.are_scarce():
            self._refuse(key, finals.busy("the hub has too many connections", "Try again later, or raise `ulimit -n`."))
        elif request.is_work and self._requests.is_full(key[0]):
            self._refuse(key, finals.too_many(self._requests.per_client))
        elif request.is_work:
            self._begin(key, request)
        elif key not in self._turns and not self._turns.take(key, request):
            self._refuse(key, finals.busy(f"{WAITING} requests of this client wait already", "Wait for replies."))

    def _refuse(self, key: Key, reply: wire.Failed | wire.Cancelled) -> None:
        """Sends the final reply to a request that is not begun, as soon as there is room."""
        if self._send(key, reply) is Posted.FULL:
            self._unread.owe(*key, reply)
            if self._settling is None or self._settling.done():
                self._settling = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        while self._unread.owed:
            await asyncio.sleep(LOOK_S)
            for client in list(self._unread.owed):
                self._settle_with(client)

    def _settle_with(self, client: bytes) -> None:
        while owed := self._unread.owed.get(client):
            request_id, reply = owed[0]
            posted = self._send((client, request_id), reply)
            if posted is Posted.SENT:
                owed.popleft()
            elif self._unread.is_hopeless(client):
                self._give_up(client)
            elif posted is Posted.FULL:
                return
        self._unread.owed.pop(client, None)

    def _begin(self, key: Key, request: wire.AnyRequest) -> None:
        pending = Pending(key, request, call_of(key[1].hex(), request), self._send)
        self._requests.add(pending)
        pending.task = asyncio.create_task(self._serve(pending))

    # ---- one request ------------------------------------------------------------------------------------------------

    async def _serve(self, pending: Pending) -> None:
        structlog.contextvars.bind_contextvars(request=pending.id)
        start = time.perf_counter()
        final = await self._final(pending)
        try:
            try:
                await self._deliver(pending, final)
            except Exception as error:  # noqa: BLE001 - an answer that cannot be encoded, a text with a lone surrogate
                final = _unexpected(pending, error)
                await self._deliver(pending, final)
        finally:
            self._requests.remove(pending)
            if not pending.request.is_work:
                self._turns.ended(pending.key)
        self._count(pending, final)
        hit = pending.call is not None and pending.call.hit == "memory"
        log.log(
            logging.DEBUG if hit else logging.INFO,  # a stored answer has a row in the history, which is enough
            "request", kind=type(pending.request).__name__, outcome=_outcome(final),
            ms=round((time.perf_counter() - start) * 1e3, 2), **_labels(pending.call),
        )  # fmt: skip

    async def _deliver(self, pending: Pending, final: wire.Reply) -> None:
        """Sends the final reply, as soon as there is room for it. A client that reads nothing loses it."""
        client = pending.key[0]
        while not pending.abandoned and not pending.deliver(final):
            if self._unread.is_hopeless(client):
                self._give_up(client)
                return
            try:
                await asyncio.sleep(LOOK_S)
            except asyncio.CancelledError:  # by its client, to whom the reply belongs nevertheless
                if self._requests.stopping:
                    return

    def _give_up(self, client: bytes) -> None:
        """Ends the requests of a client that does not read."""
        dropped, waiting = self._requests.of(client), self._turns.drop(client)
        for pending in dropped:
            pending.abandoned = True
            pending.cancel()
        self._unread.forget(client)
        log.warning(
            "the requests of a client that does not read its replies are dropped",
            client=client.hex(), requests=len(dropped) + len(waiting),
        )  # fmt: skip

    async def _final(self, pending: Pending) -> wire.Done | wire.Failed | wire.Cancelled:
        """Runs the handler to its end. Produces exactly one final reply, whatever happens."""
        if pending.request.ends_background:
            self._hub.background.give_way(all_=True)
        handler = HANDLERS[type(pending.request)]
        try:
            return wire.Done(result=await handler(self._hub, pending.call or pending.request, pending.reply))
        except asyncio.CancelledError:
            return finals.cancelled(pending.call)
        except LlmctlError as error:
            return finals.failed(pending.call, error)
        except Exception as error:  # noqa: BLE001 - here bugs become replies, with the request's id in the log
            return _unexpected(pending, error)

    def _count(self, pending: Pending, final: wire.Reply) -> None:
        counters, call = self._hub.counters, pending.call
        counters.counter("requests", type=str(pending.request.__struct_config__.tag), outcome=_outcome(final)).add()
        if call is not None and call.hit is None:
            used = call.work.usage
            kinds = (
                ("prompt", used.prompt_tokens),
                ("cached", used.cached_tokens),
                ("completion", used.completion_tokens),
            )
            for kind, tokens in kinds:
                counters.counter("tokens", kind=kind).add(tokens)

    async def _beat(self) -> None:
        """Every second: a heartbeat for every request and the first that wait, and a check that the socket file is still
        this hub's.
        """
        while True:
            await asyncio.sleep(wire.HEARTBEAT_S)
            write_counts()
            self._unread.sweep()
            self._hub.watch.beat(busy=bool(self._requests.in_flight()))
            for pending in self._requests:
                pending.beat()
            for key in self._turns.foremost(BURST):
                self._send(key, wire.Progress(state="working"))
            if not self._requests.stopping and not self._is_ours():
                log.warning("the socket file has vanished: the hub ends", socket=str(self._path))
                await self._requests.stop(0.0)

    # ---- the end ----------------------------------------------------------------------------------------------------

    def _is_ours(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def _remove_socket(self) -> None:
        """From now on a command starts the next hub, which waits for this one's lock."""
        if self._is_ours():
            self._path.unlink(missing_ok=True)

    def _refuse_waiting(self) -> None:
        for key in self._turns.drop_all():
            self._send(key, finals.stopping())

    async def close(self) -> None:
        """Sends the last replies, then closes the socket."""
        self._refuse_waiting()
        try:
            await self._requests.close()
        finally:
            self._beating.cancel()
            if self._settling is not None:
                self._settling.cancel()
            self._receive()
            self._refuse_waiting()
            self._loop.remove_reader(self._descriptor)
            self._remove_socket()
            self._socket.close()
            self._context.term()


def _unexpected(pending: Pending, error: Exception) -> wire.Failed:
    log.error("a request failed unexpectedly", exc_info=error)
    message = f"{type(error).__name__} while answering request {pending.id}"
    return wire.Failed(code=Internal.code, message=message, hint=Internal.default_hint)


def _outcome(final: wire.Reply) -> str:
    return final.code if isinstance(final, wire.Failed) else type(final).__name__.lower()


def _labels(call: Call | None) -> dict[str, object]:
    if call is None:
        return {}
    return {"model": call.model.name if call.model else None, "user": call.request.user, "hit": call.hit,
            "tokens": call.work.usage.completion_tokens}  # fmt: skip
