"""Whether the clock of the day was set while the hub ran: it is compared with one that nobody can set.

It does not know what follows: an age that spans such a moment says nothing.
"""

import time
from collections.abc import Callable

TOLERANCE_S = 60.0
"""More than a time server corrects in steps that nobody notices."""
DAY_S = 86400.0


def steady() -> float:
    """Seconds that cannot be set. On Linux they go on while the machine sleeps; elsewhere a sleep looks like a set clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class WallClock:
    """Compares both clocks with what they said at most a day ago."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = steady) -> None:
        self._wall, self._steady = wall, steady
        self._begin()

    def _begin(self) -> None:
        self._offset, self._since = self._wall() - self._steady(), self._steady()

    def was_set(self) -> bool:
        """Whether the clock of the day now differs from what it said within the last day."""
        differs = abs(self._wall() - self._steady() - self._offset) > TOLERANCE_S
        if self._steady() - self._since > DAY_S:
            self._begin()
        return differs
