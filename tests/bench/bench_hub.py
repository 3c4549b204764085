"""What the hub costs: its start, its memory, a stored answer at the socket, and the first token of a model that is warm."""

import statistics
import time
from pathlib import Path

from llmctl import wire
from tests.bench.measure import Number, percentile, spread
from tests.e2e.dealer import Dealer
from tests.e2e.house import House, until

ROUND_TRIPS = 2000
MIB = 2**20


def measure(home: House, runs: int) -> list[Number]:
    return [*start(home, max(3, runs // 8)), *round_trip(home), *vanished(home, max(3, runs // 4))]


def start(home: House, runs: int) -> list[Number]:
    """`daemon start` against a stopped hub, less what the same command costs when the hub runs: the hub's own time to ready."""
    ready, noop, resident = [], [], []
    for _ in range(runs):
        home.stop()
        assert home.ended()
        began = time.perf_counter()
        home.ok("daemon", "start")
        middle = time.perf_counter()
        home.ok("daemon", "start")
        noop.append(time.perf_counter() - middle)
        ready.append(middle - began - noop[-1])
        resident.append(home.hub().memory_info().rss / MIB)
    return [
        Number("hub ready after its start", statistics.median(ready), "s", 0.6, spread(ready)),
        Number("hub resident, no model", statistics.median(resident), "MiB", 90),
    ]


def round_trip(home: House) -> list[Number]:
    """A stored answer through one DEALER, without the command around it."""
    request = wire.Generate(prompt="the one that is stored", model="echo")
    with Dealer(home.socket) as dealer:
        first = dealer.ask(request)
        assert isinstance(first, wire.Done)
        samples = []
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            reply = dealer.ask(request)
            samples.append((time.perf_counter() - began) * 1e3)
        assert isinstance(reply, wire.Done)
        assert isinstance(reply.result, wire.Answer)
        assert reply.result.cache.hit == "memory"
    return [
        Number("exact hit at the socket, p50", statistics.median(samples), "ms", 0.5),
        Number("exact hit at the socket, p99", percentile(samples, 0.99), "ms"),
    ]


def vanished(home: House, runs: int) -> list[Number]:
    """From the death of a client in the middle of its answer to the end of its request."""
    home.echo("slow", token_ms=1000)
    samples = []
    with Dealer(home.socket) as dealer:
        for number in range(runs):
            asking = home.spawn("ask", f"{number}" * 100, "-m", "slow")
            asking.first_byte()
            asking.kill()
            began = time.perf_counter()
            until(lambda: dealer.in_flight() == 0)
            samples.append(time.perf_counter() - began)
    return [Number("the request of a vanished client ended after, at most", max(samples), "s", 2.0, spread(samples))]


def first_token(home: House, model: Path, runs: int) -> list[Number]:
    """A prompt of one token to a loaded model: what the hub and the way to it add to the engine's own time."""
    home.ok("models", "add", "bench", model, "--force")
    home.ok("models", "load", "bench")
    added, whole = [], []
    with Dealer(home.socket) as dealer:
        for number in range(runs + 3):
            request = wire.Generate(tokens=[1], model="bench", max_tokens=1, cache="skip", temperature=0.0, stream=True)
            began = time.perf_counter()
            final = dealer.ask(request)
            took = (time.perf_counter() - began) * 1e3
            assert isinstance(final, wire.Done), final
            assert isinstance(final.result, wire.Answer)
            if number >= 3:  # the first ones find cold caches
                times = final.result.timings
                added.append(took - times.prefill_ms - times.decode_ms)
                whole.append(took)
    return [
        Number("first token, warm, prompt of 1 token", statistics.median(whole), "ms", note=spread(whole)),
        Number("... above the engine's own time", statistics.median(added), "ms", 5, spread(added)),
    ]
