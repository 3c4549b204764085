"""An endpoint of the OpenAI kind that does what a test tells it: right answers, and every way that servers fail.

A real server on a loopback port, in a thread of its own; it knows nothing of llmctl. It counts what it was asked, and who left.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.loop_thread import loop_thread

USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}


@dataclass
class Asked:
    """A request as it came. `target` is the path, or the whole address where a proxy is asked."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any


@dataclass
class Exchange:
    """One request, and the connection on which it is answered."""

    asked: Asked
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.write("\r\n".join(lines) + "\r\n\r\n")

    async def write(self, text: str) -> None:
        self.writer.write(text.encode())
        await self.writer.drain()

    async def event(self, **fields: Any) -> None:
        await self.write(f"data: {json.dumps(fields)}\n\n")

    async def say(self, *pieces: str, reason: str | None = None, name: str = "content") -> None:
        """Parts of a chat answer, or of a completion, as was asked for."""
        legacy = self.asked.target.endswith("/completions") and "/chat/" not in self.asked.target
        for piece in pieces:
            part = {"text": piece} if legacy else {"delta": {name: piece}}
            await self.event(choices=[{"index": 0, **part, "finish_reason": None}])
        if reason:
            await self.event(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])

    async def left(self) -> None:
        """Until the other side has closed the connection."""
        while await self.reader.read(4096):
            pass


Behaviour = Callable[[Exchange], Awaitable[None]]


@dataclass
class Server:
    """`asked` are the requests but for those of /models; the next ones are answered by `script`, then by `usual`."""

    url: str
    models: Sequence[dict[str, Any]] = ({"id": "tiny"},)
    asked: list[Asked] = field(default_factory=list)
    looked: list[Asked] = field(default_factory=list)
    """Requests of /models."""
    script: list[Behaviour] = field(default_factory=list)
    usual: Behaviour | None = None
    for_models: Behaviour | None = None
    open: int = 0
    """Requests that are being answered."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    """Of every connection that there was."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            asked = await _read(reader)
            if asked is None:
                return
            looks = asked.target.endswith("/models")
            (self.looked if looks else self.asked).append(asked)
            self.open += 1
            try:
                await self._choose(looks)(Exchange(asked, reader, writer))
            finally:
                self.open -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a task that ends cancelled makes the streams of Python 3.11 complain
        finally:
            writer.close()

    def _choose(self, looks: bool) -> Behaviour:
        if looks:
            return self.for_models or self._list
        return self.script.pop(0) if self.script else self.usual or answer("hello", " there", "!")

    async def _list(self, exchange: Exchange) -> None:
        await exchange.head(kind="application/json")
        await exchange.write(json.dumps({"object": "list", "data": list(self.models)}))


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, target, headers, json.loads(body) if body else None)


@contextmanager
def server(tls: ssl.SSLContext | None = None, **fields: Any) -> Iterator[Server]:
    """Listens until the block is left."""
    made = Server("", **fields)
    with loop_thread() as loop:
        starting = asyncio.start_server(made.handle, "127.0.0.1", 0, ssl=tls, limit=2**24)
        listening = asyncio.run_coroutine_threadsafe(starting, loop).result()
        port = listening.sockets[0].getsockname()[1]
        made.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
        try:
            yield made
        finally:
            asyncio.run_coroutine_threadsafe(_end(listening, made), loop).result()


@asynccontextmanager
async def here(**fields: Any) -> AsyncIterator[Server]:
    """The same in the test's own loop."""
    made = Server("", **fields)
    listening = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    try:
        yield made
    finally:
        await _end(listening, made)


async def _end(listening: asyncio.Server, server: Server) -> None:
    """No connection is left open: its transport would tell of that later, in the middle of another test."""
    while accepting := _tasks("_accept_connection"):  # one that finds the server closed would leave its socket behind
        await asyncio.gather(*accepting, return_exceptions=True)
    listening.close()
    await asyncio.sleep(0)  # what is cancelled before it has begun never comes to its `finally`
    others = _tasks("Server.handle")
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for writer in server.writers:
        writer.transport.abort()
    await asyncio.gather(*(writer.wait_closed() for writer in server.writers), return_exceptions=True)


def _tasks(name: str) -> list["asyncio.Task[Any]"]:
    return [task for task in asyncio.all_tasks() if name in str(task.get_coro())]


# ---- what it may do -------------------------------------------------------------------------------------------------


def answer(*pieces: str, reason: str = "stop", usage: Any = USAGE, thought: Sequence[str] = ()) -> Behaviour:
    """A whole answer, as a stream."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.say(*thought, name="reasoning_content")
        await exchange.say(*pieces, reason=reason)
        if usage is not None:
            await exchange.event(choices=[], usage=usage)
        await exchange.write("data: [DONE]\n\n")

    return behave


def status(code: int, words: str = "no", error_code: str | None = None, **headers: str) -> Behaviour:
    """A refusal, or a failure, in JSON."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head(code, "application/json", **headers)
        await exchange.write(json.dumps({"error": {"message": words, "code": error_code}}))

    return behave


def cut(*pieces: str) -> Behaviour:
    """A stream that ends in the midst, after these."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.say(*pieces)

    return behave


def hold(*pieces: str) -> Behaviour:
    """These, and then nothing, until the other side leaves."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.say(*pieces)
        await exchange.left()

    return behave


def drip(*pieces: str, then: str = ": still here\n\n") -> Behaviour:
    """These, and then something that is no part of an answer, again and again."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.say(*pieces)
        gone = asyncio.ensure_future(exchange.left())
        while not gone.done():
            await exchange.write(then)
            await asyncio.wait([gone], timeout=0.01)

    return behave


def endless(piece: str) -> Behaviour:
    """This, without an end."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head()
        while True:
            await exchange.say(piece)

    return behave


def plain(text: str, kind: str = "text/event-stream", code: int = 200) -> Behaviour:
    """Just this body."""

    async def behave(exchange: Exchange) -> None:
        await exchange.head(code, kind)
        await exchange.write(text)

    return behave


def raw(body: bytes, *lines: str, version: str = "HTTP/1.1", size: int = 2**16) -> Behaviour:
    """These bytes as they are, in pieces of this size, behind these lines of a head."""

    async def behave(exchange: Exchange) -> None:
        head = "".join(f"{line}\r\n" for line in (f"{version} 200 OK", *lines, ""))
        exchange.writer.write(head.encode())
        for start in range(0, len(body), size):
            exchange.writer.write(body[start : start + size])
            await exchange.writer.drain()

    return behave


def refusing(field: str, words: str, then: Behaviour, code: int = 400) -> Behaviour:
    """Refuses a body with this field, in these words; takes any other."""

    async def behave(exchange: Exchange) -> None:
        refused = field in exchange.asked.body
        await (status(code, words) if refused else then)(exchange)

    return behave


def embed(most: int = 10**6) -> Behaviour:
    """Vectors (length of the text, 1, its first letter); a text of more than `most` letters is too long."""

    async def behave(exchange: Exchange) -> None:
        texts = exchange.asked.body["input"]
        if any(len(text) > most for text in texts):
            await status(400, f"the input has more than {most} tokens", "context_length_exceeded")(exchange)
            return
        data = [{"index": index, "embedding": vector_of(text)} for index, text in enumerate(texts)]
        await exchange.head(kind="application/json")
        await exchange.write(json.dumps({"data": data[::-1], "usage": {"prompt_tokens": len(texts)}}))

    return behave


def vector_of(text: str) -> list[float]:
    return [float(len(text)), 1.0, float(ord(text[0]))]


if __name__ == "__main__":  # a process of its own, which says its address and answers rightly until its stdin ends
    with server() as alone:
        sys.stdout.write(alone.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()
