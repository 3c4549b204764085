"""More than a hub can serve: requests and connections without end, and clients that never read. Others are answered meanwhile.

Every request gets one final reply or belongs to a client that does not read; memory is bounded and given back.
"""

import os
import socket
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial

import zmq

from llmctl import wire
from tests.attack.attack import Attack, Trial
from tests.attack.bystander import bystander
from tests.attack.victim import FLAT, MIB, memory, memory_stays, victim
from tests.e2e.dealer import Dealer
from tests.e2e.house import PATIENCE_S, House, until

GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + bytes(48)
"""How a ZeroMQ connection begins (ZMTP 3.0)."""
LARGE = 100_000
"""Letters of the answer that a client which reads nothing wants to see again and again."""
DEAF_MAY_COST = 96 * MIB
"""What two such clients may cost: 64 MiB of large replies, 4,096 small ones, and what waits to be served."""


def outcomes(trial: Trial, house: House, requests: list[wire.Request]) -> Counter[str]:
    """Sends all at once from one client, then reads. Notes requests without exactly one final reply."""
    finals, found = Counter[bytes](), Counter[str]()
    with Dealer(house.socket) as dealer:
        ids = [dealer.send(request) for request in requests]
        while finals.total() < len(ids):
            to, body = dealer.receive_frames()
            reply = wire.decode_reply(body)
            if isinstance(reply, wire.FINAL):
                finals[to] += 1
                found[reply.code if isinstance(reply, wire.Failed) else type(reply).__name__.lower()] += 1
    trial.check(set(finals.values()) == {1} and set(finals) == set(ids), "a request has not exactly one final reply")
    trial.measured.append(" ".join(f"{name} {number:,}" for name, number in sorted(found.items())))
    return found


def status_flood(trial: Trial) -> None:
    """One client asks for the status, without a pause."""
    with victim() as house, bystander(house) as seen:
        outcomes(trial, house, [wire.Status() for _ in range(trial.count)])
        before = memory(house)
        found = outcomes(trial, house, [wire.Status() for _ in range(trial.count)])
        memory_stays(trial, before, memory(house))
        trial.check(set(found) <= {"done", "busy"}, f"outcomes {dict(found)}")
    seen.report(trial)


def question_flood(trial: Trial) -> None:
    """One client asks for more answers than it may have under way: some are computed, the others refused."""
    with victim() as house, bystander(house) as seen:
        before = memory(house)
        questions: list[wire.Request] = [
            wire.Generate(prompt=f"question {number} {'x' * 100}", model="echo", cache="skip")
            for number in range(trial.count)
        ]
        found = outcomes(trial, house, questions)
        memory_stays(trial, before, memory(house))
        trial.check(set(found) == {"done", "busy"}, f"outcomes {dict(found)}")
        trial.check(found["done"] >= 256, f"only {found['done']} were answered")
    seen.report(trial)


def half_open(trial: Trial) -> None:
    """Connections that say nothing, half a greeting, or a greeting alone."""
    with victim() as house, bystander(house) as seen:
        before = house.hub().num_fds()
        connections = []
        for number in range(trial.count):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(PATIENCE_S)
            until(partial(connects, connection, house))
            with suppress(OSError):
                connection.sendall((b"", GREETING[:12], GREETING)[number % 3])
            connections.append(connection)
        trial.measured.append(f"{house.hub().num_fds() - before:,} descriptors")
        for connection in connections:
            connection.close()
        until(lambda: house.hub().num_fds() <= before + 8, what="the end of the connections")
    seen.report(trial)


def connects(connection: socket.socket, house: House) -> bool:
    """False while the hub's queue of new connections is full."""
    try:
        connection.connect(str(house.socket))
    except BlockingIOError:
        return False
    return True


def deaf(trial: Trial) -> None:
    """Two clients that ask and ask, and never read a reply: 1,000 small ones, and 300 large ones, each time."""
    with victim() as house, bystander(house) as seen, Dealer(house.socket) as reader:
        house.echo("wide", context=4 * LARGE)
        assert isinstance(reader.ask(wire.Generate(prompt="x" * LARGE, model="wide", max_tokens=2 * LARGE)), wire.Done)
        shown = reader.ask(wire.ListCache(model="wide"))
        assert isinstance(shown, wire.Done)
        assert isinstance(shown.result, wire.CacheEntries)
        (entry,) = shown.result.entries
        before = memory(house)
        with zmq.Context() as context, ExitStack() as stack:
            first, second = (stack.enter_context(deaf_client(context, house)) for _ in range(2))
            for _ in range(trial.count):
                send(first, wire.Status(), 1000)
                send(second, wire.ShowCache(key=entry.key), 300)
                for _ in range(40):  # of each client eight are served in a turn
                    reader.ask(wire.Status())
            memory_stays(trial, before, memory(house), DEAF_MAY_COST)
        until(lambda: memory(house) < before + FLAT, what="the memory of replies to clients that are gone")
    seen.report(trial)


def deaf_client(context: "zmq.Context[zmq.Socket[bytes]]", house: House) -> "zmq.Socket[bytes]":
    client = context.socket(zmq.DEALER)
    client.linger = 0
    client.setsockopt(zmq.RCVHWM, 1)
    client.connect(f"ipc://{house.socket}")
    return client


def send(client: "zmq.Socket[bytes]", request: wire.Request, number: int) -> None:
    request.protocol = wire.PROTOCOL
    body = wire.encode(request)
    for _ in range(number):
        client.send_multipart([os.urandom(wire.ID_BYTES), body])


ATTACKS = [
    Attack("status flood", 50_000, status_flood),
    Attack("question flood", 10_000, question_flood),
    Attack("half-open connections", 3000, half_open),
    Attack("clients that never read", 200, deaf),
]
