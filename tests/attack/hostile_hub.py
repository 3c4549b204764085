"""A process of this user at a hub's socket that holds the hub's lock and answers requests with anything but what was asked for.

It knows the messages, and nothing of how commands use them.
"""

import fcntl
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec
import zmq

import llmctl
from llmctl import config, wire
from llmctl.paths import find_paths, make_private
from tests.attack.odd_frames import ODD, deep, lying, mutation, noise
from tests.e2e.house import House
from tests.messages import EXAMPLES, RESULT_EXAMPLES

MEGABYTE = "x" * 2**20
ESCAPES = "\x1b]0;taken\x07\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b31m\u202e"
"""Sets the title, clears, writes to the clipboard, colours, turns the text round."""

Answers = Callable[[random.Random], list[bytes]]
"""The bodies that answer a request, the final one last."""
REPLIES: list[wire.Message] = [each for each in EXAMPLES if isinstance(each, wire.Reply)]


def done(result: object) -> bytes:
    return msgspec.msgpack.encode({"type": "done", "result": msgspec.to_builtins(result)})


def any_result(dice: random.Random) -> list[bytes]:
    """A right reply to another question."""
    return [wire.encode(wire.Done(result=dice.choice(RESULT_EXAMPLES)))]


def odd_fields(dice: random.Random) -> list[bytes]:
    """A result whose fields have any type and value."""
    fields = msgspec.to_builtins(dice.choice(RESULT_EXAMPLES))
    for name in dice.sample(sorted(fields), dice.randrange(1, len(fields) + 1)):
        if name != "type":
            fields[name] = dice.choice([each for each in ODD if not isinstance(each, msgspec.msgpack.Ext)])
    return [msgspec.msgpack.encode({"type": "done", "result": fields})]


def odd_order(dice: random.Random) -> list[bytes]:
    """Replies of every kind, in any order, and more of them behind the final one."""
    return [wire.encode(dice.choice(REPLIES)) for _ in range(dice.randrange(1, 12))] + any_result(dice)


def odd_bytes(dice: random.Random) -> list[bytes]:
    """Mutations of right replies, and what never was one."""
    every = [wire.encode(each) for each in REPLIES]
    makes: list[Callable[[], bytes]] = [
        lambda: mutation(dice.choice(every), dice), lambda: noise(dice), lambda: deep(dice), lambda: lying(dice),
    ]  # fmt: skip
    return [dice.choice(makes)() for _ in range(dice.randrange(1, 4))] + any_result(dice)


def long_lines(dice: random.Random) -> list[bytes]:
    """Megabytes where a word is expected."""
    notice = wire.encode(wire.Notice(text=MEGABYTE))
    failed = wire.encode(
        wire.Failed(code=dice.choice(["busy", "no such code", MEGABYTE]), message=MEGABYTE, hint=MEGABYTE)
    )
    return [notice, *(wire.encode(wire.Delta(text=MEGABYTE)) for _ in range(dice.randrange(4))), failed]


HOSTILE: list[Answers] = [any_result, odd_fields, odd_fields, odd_order, odd_bytes, odd_bytes, long_lines]


def escapes(dice: random.Random) -> list[bytes]:
    """Sequences for a terminal in every text of an answer."""
    answer = wire.Answer(
        id="0" * 32, model=ESCAPES, text=ESCAPES, reasoning=ESCAPES, user="", usage=wire.TokenUsage(1, 0, 1),
        timings=wire.Timings(), cache=wire.CacheUse(),
    )  # fmt: skip
    return [
        wire.encode(wire.Notice(text=ESCAPES)), wire.encode(wire.Progress(state=ESCAPES)),
        wire.encode(wire.Delta(reasoning=ESCAPES)), wire.encode(wire.Delta(text=ESCAPES)), wire.encode(wire.Done(result=answer)),
    ]  # fmt: skip


class HostileHub(threading.Thread):
    """Serves until `over` is set. `answers` may be replaced at any time; `endless`: a delta without end instead."""

    def __init__(self, socket: "zmq.Socket[bytes]", dice: random.Random) -> None:
        super().__init__(daemon=True)
        self._socket, self._dice = socket, dice
        self.answers: Answers = any_result
        self.endless = False
        self.over = threading.Event()
        self._held: list[list[bytes]] = []

    def run(self) -> None:
        while not self.over.is_set():
            if self._socket.poll(1 if self._held else 20):
                frames = self._socket.recv_multipart()
                if len(frames) == 3:
                    self._answer(frames[:2])
            for key in self._held:
                for _ in range(100):
                    self._send(key, wire.encode(wire.Delta(text="more " * 20)))

    def _answer(self, key: list[bytes]) -> None:
        if self.endless:
            self._held = [key] if not self._held or self._held[-1][0] == key[0] else [*self._held, key]
            return
        for body in self.answers(self._dice):
            self._send(key, body)

    def _send(self, key: list[bytes], body: bytes) -> None:
        with suppress(zmq.Again):  # a client that does not read; one that is gone is no error without ROUTER_MANDATORY
            self._socket.send_multipart([*key, body], zmq.NOBLOCK)


@contextmanager
def hostile_hub(house: House, dice: random.Random) -> Iterator[HostileHub]:
    """Sits at the socket of this home, as a hub of this version, until the block is left."""
    paths = find_paths({"LLMCTL_HOME": str(house.place)})
    make_private(paths.run)
    lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    info = wire.HubInfo(
        pid=os.getpid(), version=llmctl.__version__, protocol=wire.PROTOCOL, socket=str(paths.socket), started=time.time(),
        fingerprint=config.Config().fingerprint(),
    )  # fmt: skip
    paths.hub_info.write_bytes(msgspec.json.encode(info))
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.linger = 0
        socket.bind(f"ipc://{paths.socket}")
        hub = HostileHub(socket, dice)
        hub.start()
        try:
            yield hub
        finally:
            hub.over.set()
            hub.join()
            os.close(lock)
