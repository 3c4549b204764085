"""The hub's socket: arbitrary bytes are answered or dropped; the hub never dies, never grows, and answers other clients.

It plays programs of the same user, since no other user reaches the socket (tests/e2e/test_doors.py).
"""

import random
import socket
from contextlib import ExitStack, suppress

import zmq

from llmctl import wire
from tests.attack import odd_frames
from tests.attack.attack import Attack, Trial
from tests.attack.bystander import bystander
from tests.attack.victim import memory, memory_stays, victim
from tests.e2e.dealer import Dealer
from tests.e2e.house import PATIENCE_S, House, until

CLIENTS = 4
BURST = 50


def malformed(trial: Trial) -> None:
    """From several clients at once, while another one asks from the cache."""
    with victim() as house, bystander(house) as seen:
        throw(house, trial.count // 10, trial.dice)  # the first tenth brings buffers to their size
        before = memory(house)
        replies = throw(house, trial.count - trial.count // 10, trial.dice)
        memory_stays(trial, before, memory(house))
        trial.measured.append(f"{replies:,} replies")
        trial.check(replies > 0, "nothing was answered")
    seen.report(trial)


def throw(house: House, number: int, dice: random.Random) -> int:
    """Sends so many malformed messages. Returns how many replies came."""
    replies = sent = 0
    with ExitStack() as stack:
        clients = [stack.enter_context(Dealer(house.socket)) for _ in range(CLIENTS)]
        while sent < number:
            for client in clients:
                for _ in range(min(BURST, number - sent)):
                    while not odd_frames.is_harmless(made := odd_frames.frames(dice)):
                        pass
                    client.send_frames(*made)
                    sent += 1
                replies += client.drain()
        for client in clients:
            replies += client.replies_before(client.send(wire.Status()))
    return replies


def odd_clients(trial: Trial) -> None:
    """Clients that break the order of the protocol, all at one hub."""
    with victim() as house:
        for part in (undecodable, no_zeromq, vanishing, one_identity, same_id):
            part(house, trial)


def undecodable(house: House, trial: Trial) -> None:
    """The id is outside the body, so even an undecodable body gets its reply."""
    with Dealer(house.socket) as dealer:
        for _ in range(trial.count):
            identity = trial.dice.randbytes(wire.ID_BYTES)
            dealer.send_frames(identity, b"\xc1" + odd_frames.noise(trial.dice))
            reply = dealer.receive(identity)
            assert isinstance(reply, wire.Failed)
            assert reply.code in {"invalid_request", "unreachable"}
            assert reply.message


def no_zeromq(house: House, trial: Trial) -> None:
    """Bytes that are no ZeroMQ are dropped."""
    for _ in range(trial.count):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(str(house.socket))
        raw.settimeout(PATIENCE_S)
        with suppress(OSError):  # the hub may have hung up already
            raw.sendall(odd_frames.noise(trial.dice, 3000))
        raw.close()


def vanishing(house: House, trial: Trial) -> None:
    """Clients that leave in the middle leave nothing running."""
    for _ in range(trial.count):
        with Dealer(house.socket) as dealer:
            for _ in range(trial.dice.randrange(1, 4)):
                text = "x" * trial.dice.randrange(500)
                dealer.send(wire.Generate(prompt=text, model="echo", stream=True, cache="skip"))
    with Dealer(house.socket) as dealer:
        until(lambda: dealer.in_flight() == 0, what="the end of the requests of clients that are gone")


def one_identity(house: House, trial: Trial) -> None:
    """Clients that call themselves by the name of another one take none of its answers."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as first:
        first.setsockopt(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
        first.setsockopt(zmq.ROUTING_ID, b"the name")
        first.connect(f"ipc://{house.socket}")
        for number in range(trial.count):
            identity, status = b"%016d" % number, wire.encode(wire.Status(protocol=wire.PROTOCOL))
            names = [b"the name", b"x" * 255, b"\1" + odd_frames.noise(trial.dice, 50)]
            with context.socket(zmq.DEALER) as second:
                second.linger = 0
                second.setsockopt(zmq.ROUTING_ID, trial.dice.choice(names))
                second.connect(f"ipc://{house.socket}")
                second.send_multipart([identity, status])
                first.send_multipart([identity, status])
                assert first.recv_multipart()[0] == identity


def same_id(house: House, trial: Trial) -> None:
    """A request id that is in use again is answered once or twice, and never left without a reply."""
    with Dealer(house.socket) as dealer:
        for number in range(trial.count):
            identity = b"%016d" % number
            for _ in range(2):
                dealer.send(wire.Generate(prompt="twice", model="echo", cache="skip"), identity)
            assert isinstance(dealer.replies(identity)[-1], wire.Done)


def oversized(trial: Trial) -> None:
    """A frame above the limit ends its connection, unread."""
    with victim() as house:
        before = memory(house)
        for _ in range(trial.count):
            with Dealer(house.socket) as dealer:
                dealer.send_frames(b"large" * 3 + b"!", bytes(wire.MAX_BODY_BYTES + 1))
                dealer.await_hang_up()
        memory_stays(trial, before, memory(house), 2 * wire.MAX_BODY_BYTES)


ATTACKS = [
    Attack("malformed frames", 1_000_000, malformed),
    Attack("odd clients", 400, odd_clients),
    Attack("oversized frames", 5, oversized),
]
