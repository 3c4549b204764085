"""The hub's socket: a ROUTER, one task per request, one final reply for each; the only place where exceptions become Failed.

It knows clients and requests, and neither models nor caches. What a client has not read yet is joined and waits here.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
import structlog
import zmq

from llmctl import __version__, wire
from llmctl.errors import Internal, LlmctlError, Timeout
from llmctld.call import Call
from llmctld.handlers import HANDLERS, Hub, call_of
from llmctld.watch import log

BURST = 64
"""Frames taken from the socket before other work gets its turn."""

Key = tuple[bytes, bytes]


class Exchange:
    """One request and what its client has been sent: at most WINDOW deltas unread, later ones are joined meanwhile."""

    def __init__(self, key: Key, request: wire.AnyRequest, send: Callable[[Key, wire.Reply], bool]) -> None:
        self.key, self.request, self._send = key, request, send
        self.id = key[1].hex()
        self.call = call_of(self.id, request)
        self.task: asyncio.Task[None] | None = None
        self._unread = 0
        self._waiting: list[wire.Delta] = []
        """Of each sample one at most; those before the last are whole."""

    @property
    def name(self) -> str:
        model = self.call.model.name if self.call and self.call.model else self.request.subject
        return f"{self.id[:12]} ({model or '?'})"

    def reply(self, reply: wire.Reply) -> None:
        if not isinstance(reply, wire.Delta):
            self._flush()
            self._post(reply)
        elif isinstance(self.request, wire.Generate) and self.request.stream:
            if self._waiting and self._waiting[-1].index == reply.index:
                last = self._waiting[-1]
                text, reasoning = last.text + reply.text, last.reasoning + reply.reasoning
                self._waiting[-1] = wire.Delta(text=text, reasoning=reasoning, index=reply.index)
            else:
                self._waiting.append(reply)
            if self._unread < wire.WINDOW:
                self._flush()

    def acknowledge(self, count: int) -> None:
        self._unread = max(0, self._unread - max(0, count))
        if self._unread < wire.WINDOW:
            self._flush()

    def beat(self) -> None:
        self._post(wire.Progress(state=self.call.work.state if self.call else "working"))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for delta in waiting:
            if delta.text or delta.reasoning:
                self._unread += 1
                self._post(delta)

    def _post(self, reply: wire.Reply) -> None:
        if not self._send(self.key, reply):
            self.cancel()  # the client has vanished: nobody waits for this work any more

    def cancel(self) -> None:
        """Not before the task has begun to run: it would end without its final reply."""
        if self.task is not None:
            self.task.get_loop().call_soon(self.task.cancel)


class Server:
    """Binds `socket_path`; `hub.in_flight` and `hub.stop` are set here."""

    def __init__(self, hub: Hub, socket_path: Path) -> None:
        self._hub, self._path = hub, socket_path.parent.resolve() / socket_path.name  # a link in /tmp may go
        self._exchanges: dict[Key, Exchange] = {}
        self._stopping = False
        self._endings: list[asyncio.Task[list[str]]] = []
        self.stopped = asyncio.Event()
        hub.in_flight, hub.stop = self._in_flight, self.stop
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.SNDHWM, 0)  # what a client has not read is bounded by its acknowledgements
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.set(zmq.LINGER, 1000)
        self._socket.set(zmq.MAXMSGSIZE, wire.MAX_BODY_BYTES)
        self._path.unlink(missing_ok=True)  # stale: the lock is ours
        self._socket.bind(f"ipc://{socket_path}")
        self._inode = self._path.stat().st_ino
        self._descriptor = int(self._socket.get(zmq.FD))
        self._loop.add_reader(self._descriptor, self._receive)
        self._beating = asyncio.create_task(self._beat())

    # ---- the socket -------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Takes what is there. The descriptor tells of changes only, so after each send somebody must look again."""
        for _ in range(BURST):
            if not self._has_input():
                return
            self._accept(self._socket.recv_multipart(zmq.NOBLOCK))
        self._loop.call_soon(self._receive)

    def _has_input(self) -> bool:
        return not self._socket.closed and bool(int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN)

    def _send(self, key: Key, reply: wire.Reply) -> bool:
        """False: this client is gone."""
        try:
            self._socket.send_multipart([*key, wire.encode(reply)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                log.error("a reply could not be sent", error=str(error))
            return False
        finally:
            if self._has_input():
                self._loop.call_soon(self._receive)
        return True

    def _accept(self, frames: list[bytes]) -> None:
        if len(frames) != 3 or len(frames[1]) != wire.ID_BYTES:
            log.warning("a message with a wrong frame was dropped", frames=len(frames))
            return
        key, body = (frames[0], frames[1]), frames[2]
        try:
            request = wire.decode_request(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._send(key, _undecodable(body, error))
            return
        if request.protocol != wire.PROTOCOL and not request.any_protocol:
            self._send(key, _foreign(request.protocol))
        elif isinstance(request, wire.Cancel):
            self._cancel(key)
        elif isinstance(request, wire.Ack):
            if key in self._exchanges:
                self._exchanges[key].acknowledge(request.count)
        elif self._stopping and not request.any_protocol:
            self._send(
                key, wire.Failed(code="unreachable", message="the hub is stopping", hint="Ask again.", retry=True)
            )
        elif key not in self._exchanges:  # an id that is in flight is the same request once more
            exchange = self._exchanges[key] = Exchange(key, request, self._send)
            exchange.task = asyncio.create_task(self._serve(exchange))

    def _cancel(self, key: Key) -> None:
        exchange = self._exchanges.get(key)
        if exchange is not None:
            exchange.cancel()

    # ---- one request ------------------------------------------------------------------------------------------------

    async def _serve(self, exchange: Exchange) -> None:
        structlog.contextvars.bind_contextvars(request=exchange.id)
        start = time.perf_counter()
        final = await self._final(exchange)
        del self._exchanges[exchange.key]
        try:
            exchange.reply(final)
        except Exception as error:  # noqa: BLE001 - an answer that cannot be encoded, a text with a lone surrogate
            final = _unexpected(exchange, error)
            exchange.reply(final)
        hit = exchange.call is not None and exchange.call.hit == "memory"
        log.log(
            logging.DEBUG if hit else logging.INFO,  # a stored answer has its row in the history, and costs no line
            "request", kind=type(exchange.request).__name__, outcome=_outcome(final),
            ms=round((time.perf_counter() - start) * 1e3, 2), **_labels(exchange),
        )  # fmt: skip

    async def _final(self, exchange: Exchange) -> wire.Done | wire.Failed | wire.Cancelled:
        """Runs the handler to its end; whatever happens there, exactly one final reply comes of it."""
        handler = HANDLERS[type(exchange.request)]
        if exchange.request.ends_background:
            self._hub.background.give_way(all_=True)
        try:
            async with aclosing(handler(self._hub, exchange.call, exchange.request)) as replies:
                async for reply in replies:
                    if isinstance(reply, wire.Done):
                        return reply
                    exchange.reply(reply)
            raise Internal("the handler ended without an answer")
        except asyncio.CancelledError:
            return _cancelled(exchange.call)
        except LlmctlError as error:
            return _failed(exchange.call, error)
        except Exception as error:  # noqa: BLE001 - here bugs become replies, with the request's id in the log
            return _unexpected(exchange, error)

    def _in_flight(self) -> int:
        return sum(exchange.request.is_work for exchange in self._exchanges.values())

    async def _beat(self) -> None:
        """Each second: a sign of life for every request, and a look whether our socket is still ours."""
        while True:
            await asyncio.sleep(wire.HEARTBEAT_S)
            for exchange in list(self._exchanges.values()):
                exchange.beat()
            if not self._stopping and not self._is_ours():
                log.warning("the socket file has vanished: the hub ends", socket=str(self._path))
                await self.stop(0.0)

    def _is_ours(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    # ---- the end ----------------------------------------------------------------------------------------------------

    async def stop(self, timeout: float) -> list[str]:
        """Takes no more requests, waits for those in flight at most `timeout` seconds, cancels the rest and names them.

        It goes on when its caller is cancelled: a hub that takes nothing any more must end.
        """
        ending = asyncio.create_task(self._end(timeout))
        self._endings.append(ending)
        return await asyncio.shield(ending)

    async def _end(self, timeout: float) -> list[str]:
        if not self._stopping:
            self._stopping = True
            self._hub.background.end()
            if self._is_ours():
                self._path.unlink(missing_ok=True)  # the next command starts the next hub, which waits for our lock
        running = {
            exchange.task: exchange
            for exchange in self._exchanges.values()
            if exchange.request.is_work and exchange.task
        }
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
        """The last replies go out, then the socket is gone."""
        others = [exchange.task for exchange in self._exchanges.values() if exchange.task is not None]
        if others:
            await asyncio.wait(others, timeout=1.0)
            for exchange in self._exchanges.values():
                exchange.cancel()
            await asyncio.wait(others, timeout=1.0)
        self._beating.cancel()
        self._receive()
        self._loop.remove_reader(self._descriptor)
        self._socket.close()
        self._context.term()


def _undecodable(body: bytes, error: Exception) -> wire.Failed:
    protocol = wire.protocol_of(body)
    if protocol is not None and protocol != wire.PROTOCOL:
        return _foreign(protocol)
    return wire.Failed(
        code="invalid_request", message=f"the request cannot be understood: {error}", hint="See daemon/PROTOCOL.md."
    )


def _foreign(protocol: int) -> wire.Failed:
    return wire.Failed(
        code="unreachable",
        message=f"this hub is llmctl {__version__} and speaks protocol {wire.PROTOCOL}; the client speaks {protocol}",
        hint="`llmctl daemon restart` starts a hub of the client's version.",
    )


def _cancelled(call: Call | None) -> wire.Cancelled:
    answers = call.partials("cancelled") if call else []
    return wire.Cancelled(answer=call.partial("cancelled") if call and not answers else None, answers=answers)


def _failed(call: Call | None, error: LlmctlError) -> wire.Failed:
    answers = call.partials("timeout" if isinstance(error, Timeout) else "error") if call else []
    answer = None if answers else error.answer
    return wire.Failed(code=error.code, message=error.message, hint=error.hint, answer=answer, answers=answers)


def _unexpected(exchange: Exchange, error: Exception) -> wire.Failed:
    log.error("a request failed unexpectedly", exc_info=error)
    message = f"{type(error).__name__} while answering request {exchange.id}"
    return wire.Failed(code=Internal.code, message=message, hint=Internal.default_hint)


def _outcome(final: wire.Reply) -> str:
    return final.code if isinstance(final, wire.Failed) else type(final).__name__.lower()


def _labels(exchange: Exchange) -> dict[str, object]:
    call = exchange.call
    if call is None:
        return {}
    return {"model": call.model.name if call.model else None, "user": call.request.user, "hit": call.hit,
            "tokens": call.work.usage.completion_tokens}  # fmt: skip
