"""Numbers about the hub, in one place: counters only grow while it runs, gauges are read when somebody asks.

It knows names, labels and values; who counts what is the business of each room, and how they are shown that of the views.
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
    "cache_hits": "Look-ups that a level answered, by level.",
    "cache_misses": "Look-ups that a level did not answer, by level.",
    "cache_errors": "Failures of a level, by level.",
    "engines": "Engine processes that are there.",
}
"""Every name that is counted, and what it means."""


class Counter:
    """For one thread at a time: two that add at the same moment may lose one of both."""

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
    """A counter; else a gauge."""


Labels = tuple[tuple[str, str], ...]


class Counters:
    """All counters and gauges of a hub. A name that HELP does not know is a KeyError."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, Labels], Counter] = {}
        self._gauges: dict[str, Callable[[], float]] = {}

    def counter(self, name: str, **labels: str) -> Counter:
        """The one counter of this name and these labels."""
        HELP[name]
        return self._counters.setdefault((name, tuple(labels.items())), Counter())

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        HELP[name]
        self._gauges[name] = read

    def __iter__(self) -> Iterator[Measurement]:
        """What stands now."""
        for (name, labels), counter in self._counters.items():
            yield Measurement(name, dict(labels), counter.value, grows=True)
        for name, read in self._gauges.items():
            yield Measurement(name, {}, read(), grows=False)
