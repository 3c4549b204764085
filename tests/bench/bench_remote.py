"""What the way through the hub adds to an answer of a remote model, against the same request sent to it directly."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx2

from llmctl import wire
from tests.bench.measure import Number, percentile, spread
from tests.e2e.dealer import Dealer
from tests.e2e.house import House

PAIRS = 400
WARM = 20


@contextmanager
def an_endpoint() -> Iterator[str]:
    """The address of a server that answers at once, in a process of its own."""
    command = [sys.executable, "-m", "tests.faulty_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


def measure(home: House) -> list[Number]:
    """In turns, one through the hub and one directly, so that both meet the same machine."""
    with an_endpoint() as url, httpx2.Client(verify=False, trust_env=False) as client, Dealer(home.socket) as dealer:
        home.ok("models", "add", "bench-remote", url, "--force")
        ours, direct = [], []
        for number in range(WARM + PAIRS):
            ours.append(_timed(partial(_through_the_hub, dealer, number)))
            direct.append(_timed(partial(_directly, client, url, number)))
    ours, direct = ours[WARM:], direct[WARM:]
    added = statistics.median(ours) - statistics.median(direct)
    return [
        Number("remote model, 3 parts, directly", statistics.median(direct), "ms", note=spread(direct)),
        Number("... through the hub", statistics.median(ours), "ms", note=spread(ours)),
        Number("... so much more", added, "ms", 5),
        Number("... at the 99th of 100", percentile(ours, 0.99) - percentile(direct, 0.99), "ms"),
    ]


def _timed(ask: Callable[[], None]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1e3


def _through_the_hub(dealer: Dealer, number: int) -> None:
    reply = dealer.ask(wire.Generate(prompt=f"why {number}?", model="bench-remote", cache="skip", stream=True))
    assert isinstance(reply, wire.Done), reply


def _directly(client: httpx2.Client, url: str, number: int) -> None:
    body = {"model": "tiny", "stream": True, "messages": [{"role": "user", "content": f"why {number}?"}]}
    with client.stream("POST", f"{url}/chat/completions", json=body) as response:
        assert "data: [DONE]" in list(response.iter_lines())
