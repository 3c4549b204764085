"""The predicted errors of recent requests, as a histogram: it gives the threshold that spends a given number of errors.

Bins are equal on a logarithmic scale, and counts fade. It does not know which requests were served.
"""

import math
from collections.abc import Sequence

LAST = 2000
"""Requests in which a count fades to a third."""
_LOWEST = -6.0
"""Decimal logarithm of the smallest error that is told apart."""
_PER_DECADE = 20
_BINS = int(-_LOWEST * _PER_DECADE)
_ERRORS = [10 ** (_LOWEST + (number + 0.5) / _PER_DECADE) for number in range(_BINS)]
_EVERY = 10
"""Requests after which counts fade, all at once."""


class ErrorHistogram:
    def __init__(self, counts: Sequence[float] = (), requests: float = 0.0) -> None:
        self.counts = list(counts) if len(counts) == _BINS else [0.0] * _BINS
        self.requests = requests
        self._since = 0

    def add(self, error: float | None) -> bool:
        """Adds a request, with the predicted error of its pair if it has one. True at every tenth: the threshold is due."""
        self._since += 1
        self.requests += 1
        if error is not None:
            self.counts[_bin(error)] += 1
        if self._since < _EVERY:
            return False
        keep = (1 - 1 / LAST) ** self._since
        self._since = 0
        self.requests *= keep
        self.counts = [count * keep for count in self.counts]
        return True

    def threshold(self, spend: float, factor: float) -> float:
        """The highest predicted error up to which the pairs counted add up to at most `spend`, each times `factor`."""
        total = 0.0
        for number, count in enumerate(self.counts):
            total += count * _ERRORS[number] * factor
            if total > spend:
                return 10 ** (_LOWEST + number / _PER_DECADE) if number else 0.0
        return 1.0


def _bin(error: float) -> int:
    return max(0, min(_BINS - 1, int((math.log10(max(error, 1e-9)) - _LOWEST) * _PER_DECADE)))
