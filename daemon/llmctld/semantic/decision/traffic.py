"""How risky the pairs are that come: from it, the risk up to which serving spends what may be spent.

Knows predicted errors of the last few thousand requests, as a histogram over their logarithm that fades; not which were served.
"""

import math
from collections.abc import Sequence

LAST = 2000
"""Requests over which it fades."""
_LOWEST = -6.0
_PER_DECADE = 20
_BINS = int(-_LOWEST * _PER_DECADE)
_RISKS = [10 ** (_LOWEST + (number + 0.5) / _PER_DECADE) for number in range(_BINS)]
_EVERY = 10


class Traffic:
    def __init__(self, counts: Sequence[float] = (), requests: float = 0.0) -> None:
        self.counts = list(counts) if len(counts) == _BINS else [0.0] * _BINS
        self.requests = requests
        self._since = 0

    def request(self, risk: float | None) -> bool:
        """One more request, with the risk of its pair, if it has one. True now and then: time to choose anew."""
        self._since += 1
        self.requests += 1
        if risk is not None:
            self.counts[_bin(risk)] += 1
        if self._since < _EVERY:
            return False
        keep = (1 - 1 / LAST) ** self._since
        self._since = 0
        self.requests *= keep
        self.counts = [count * keep for count in self.counts]
        return True

    def highest(self, spend: float, factor: float) -> float:
        """The risk (as predicted) up to which the pairs of the last requests have together `factor` x risk <= `spend`."""
        total = 0.0
        for number, count in enumerate(self.counts):
            total += count * _RISKS[number] * factor
            if total > spend:
                return 10 ** (_LOWEST + number / _PER_DECADE) if number else 0.0
        return 1.0


def _bin(risk: float) -> int:
    return max(0, min(_BINS - 1, int((math.log10(max(risk, 1e-9)) - _LOWEST) * _PER_DECADE)))
