"""The hub's counters, which only grow while it runs, and gauges, which are read on demand.

It knows names, labels and values. Each room counts its own; views show them.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

HELP = {
    "requests": "Requests that got their final reply, by type and outcome.",
    "requests_in_flight": "Requests that are work and have no final reply yet.",
    "tokens": "Tokens of computed answers, by kind: prompt, cached (a part of prompt) and completion.",
    "cache_requests": "Look-ups of a stored answer.",
    "cache_joined": "Requests that joined an equal one in flight.",
    "cache_saved_seconds": "Seconds of computing that stored answers saved.",
    "cache_saved_cost": "Price of computing the answers that stored ones replaced, where their model has one.",
    "cache_priced_hits": "Stored answers served whose model has a price.",
    "cache_hits": "Look-ups that a level answered, by level.",
    "cache_misses": "Look-ups that a level did not answer, by level.",
    "cache_errors": "Failures of a level, by level.",
    "engines": "Engine processes that are there.",
}
"""Every counted name and its meaning."""


class Counter:
    """Not thread-safe: simultaneous additions from two threads may lose one."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, by: float = 1) -> None:
        self.value += by


class Measurement(NamedTuple):
    name: str
    labels: dict[str, str]
    value: float
    grows: bool
    """True for a counter, False for a gauge."""


Labels = tuple[tuple[str, str], ...]


class Counters:
    """All counters and gauges of a hub. A name missing from HELP raises KeyError."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, Labels], Counter] = {}
        self._gauges: dict[str, Callable[[], float]] = {}

    def counter(self, name: str, **labels: str) -> Counter:
        """The counter with this name and these labels."""
        HELP[name]
        return self._counters.setdefault((name, tuple(labels.items())), Counter())

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        HELP[name]
        self._gauges[name] = read

    def __iter__(self) -> Iterator[Measurement]:
        """The current values."""
        for (name, labels), counter in self._counters.items():
            yield Measurement(name, dict(labels), counter.value, grows=True)
        for name, read in self._gauges.items():
            yield Measurement(name, {}, read(), grows=False)
