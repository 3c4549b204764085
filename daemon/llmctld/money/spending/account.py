"""The account of one scope: what was spent by quarter of an hour, and what is reserved.

It decides nothing, and does not know whose it is.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from llmctld.money.spending.ledger import quarter
from llmctld.money.spending.windows import Window


class Spending(NamedTuple):
    """A window of a budget. Amounts in units; `limit` None: unlimited."""

    limit: int | None
    spent: int
    reserved: int
    ends: float


class Account:
    """What one scope spent, and what is reserved for it. There may be one for each tag of each request: it is small."""

    __slots__ = ("_sums", "arrivals", "by_quarter", "held_by_quarter")

    def __init__(self, by_quarter: Mapping[int, int] = {}) -> None:
        self.by_quarter = dict(by_quarter)
        self.held_by_quarter: dict[int, int] | None = None
        """What is reserved, by the quarter in which it will be charged: a request that began yesterday is charged to
        yesterday. None: nothing."""
        self.arrivals: deque[float] | None = None
        """Moments of the requests of the last minute, by a clock that does not jump. None: no limit was set."""
        self._sums: dict[Window, int] | None = None

    def spent(self, within: Window) -> int:
        """What was spent in a window; summed anew when another one begins, or the clock is set."""
        if self._sums is None:
            self._sums = {}
        if within not in self._sums:
            self._sums = {known: sum_ for known, sum_ in self._sums.items() if known.start <= within.start < known.end}
            first, last = quarter(within.start), quarter(within.end - 1)
            self._sums[within] = sum(units for at, units in self.by_quarter.items() if first <= at <= last)
        return self._sums[within]

    def reserved(self, within: Window) -> int:
        """What is reserved and will be charged to a window."""
        if self.held_by_quarter is None:
            return 0
        first, last = quarter(within.start), quarter(within.end - 1)
        return sum(units for at, units in self.held_by_quarter.items() if first <= at <= last)

    def hold(self, at: float, amount: int) -> None:
        """Reserves an amount for the moment `at`; a negative one gives back."""
        held = self.held_by_quarter or {}
        held[quarter(at)] = held.get(quarter(at), 0) + amount
        if not held[quarter(at)]:
            del held[quarter(at)]
        self.held_by_quarter = held or None

    def add(self, at: float, spent: int) -> None:
        if not spent:
            return
        self.by_quarter[quarter(at)] = self.by_quarter.get(quarter(at), 0) + spent
        for within in self._sums or {}:
            if within.start <= at < within.end:
                assert self._sums is not None
                self._sums[within] += spent

    def load(self, by_quarter: Mapping[int, int]) -> None:
        """Adds what a file knows."""
        for at, spent in by_quarter.items():
            self.by_quarter[at] = self.by_quarter.get(at, 0) + spent
        self._sums = None

    def forget(self, before: float) -> bool:
        """Drops what no window reaches any more. Whether nothing is left to know."""
        for at in [at for at in self.by_quarter if at < quarter(before)]:
            del self.by_quarter[at]
        self._sums = None
        return not self.by_quarter and self.held_by_quarter is None and not self.arrivals
