"""Repeated log lines: of lines that differ only in request and time, the first ones are written and the others counted.

Knows the fields of lines, not where they are written.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

WRITTEN = 100
"""Equal lines written within WINDOW_S seconds; later ones are counted."""
WINDOW_S = 10.0
KINDS = 256
"""Different lines that are remembered."""
DIFFERING = ("request", "ms", "tokens", "timestamp")
"""Fields in which equal lines may differ."""


@dataclass
class Seen:
    """How often a line came since `start` (seconds, monotonic)."""

    start: float
    line: EventDict
    times: int = 0


class Repeats:
    """A processor of structlog. `tell` is called with a line, and how often it came after the last one that was written."""

    def __init__(self, tell: Callable[[EventDict, int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._seen: dict[str, Seen] = {}

    def __call__(self, logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
        kind = _kind(line)
        seen = self._seen.get(kind)
        if seen is None or self._clock() - seen.start >= WINDOW_S:
            self._end(kind)
            if len(self._seen) >= KINDS:
                self._end(next(iter(self._seen)))
            seen = self._seen[kind] = Seen(self._clock(), dict(line))
        seen.times += 1
        if seen.times > WRITTEN:
            raise structlog.DropEvent
        return line

    def flush(self, all_: bool = False) -> None:
        """Tells the counts of the windows that are over."""
        now = self._clock()
        for kind in [kind for kind, seen in list(self._seen.items()) if all_ or now - seen.start >= WINDOW_S]:
            self._end(kind)

    def _end(self, kind: str) -> None:
        seen = self._seen.pop(kind, None)
        if seen is not None and seen.times > WRITTEN:
            self._tell(seen.line, seen.times - WRITTEN)


def _kind(line: EventDict) -> str:
    return repr(sorted((name, _value(value)) for name, value in line.items() if name not in DIFFERING))


def _value(value: Any) -> str:
    return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else repr(value)
