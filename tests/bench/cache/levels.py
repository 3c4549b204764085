"""What a stored answer costs on each level, at the hub's socket, and how many can be stored in a second."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmctl import wire
from tests.bench.measure import Number, spread
from tests.e2e.dealer import Dealer
from tests.e2e.house import house
from tests.redis_server import PROGRAM, a_redis

LOOKUPS, WRITES = 1000, 2000
WITHOUT = {"LLMCTL_CACHE__MEMORY_BYTES": "0"}
"""So that every lookup goes down."""


def measure(data: Path | None) -> list[Number]:
    numbers = [lookups("memory", 0.5), lookups("disk", None, **WITHOUT), writes()]
    if PROGRAM is not None:
        with a_redis() as server:
            numbers.append(
                lookups("shared", None, LLMCTL_CACHE__SHARED_URL=server.url(), LLMCTL_CACHE__DISK_BYTES="0", **WITHOUT)
            )
    return numbers


@contextmanager
def a_hub(**variables: str) -> Iterator[Dealer]:
    with house(**variables) as home:
        home.echo()
        home.ok("daemon", "start")
        with Dealer(home.socket) as dealer:
            yield dealer


def lookups(level: str, target: float | None, **variables: str) -> Number:
    request = wire.Generate(prompt="the one that is stored", model="echo")
    samples = []
    with a_hub(**variables) as dealer:
        dealer.ask(request)
        for _ in range(LOOKUPS):
            began = time.perf_counter()
            reply = dealer.ask(request)
            samples.append((time.perf_counter() - began) * 1e3)
            assert isinstance(reply, wire.Done)
            assert isinstance(reply.result, wire.Answer)
            assert reply.result.cache.hit == level, reply.result.cache
    return Number(f"hit on {level}, at the socket, p50", statistics.median(samples), "ms", target, spread(samples))


def writes() -> Number:
    """With 32 under way together; each is in memory, on the disk and in the book when it is acknowledged."""
    with a_hub() as dealer:
        began = time.perf_counter()
        for first in range(0, WRITES, 32):
            sent = [
                dealer.send(
                    wire.Warm(request=wire.Generate(prompt=f"{first} {number}", model="echo"), text="an answer " * 20)
                )
                for number in range(32)
            ]
            for _ in sent:
                dealer.receive_frames()
        seconds = time.perf_counter() - began
    return Number("answers stored", WRITES / seconds, "per s")
