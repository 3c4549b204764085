"""Tokens per second over the last few seconds.

It knows counts and times that others hand it, and reads no clock of its own.
"""

from collections import deque

WINDOW_S = 3.0


class Rate:
    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque()
        self._tokens = 0

    def add(self, now: float, tokens: int) -> None:
        """A step that ended at `now` (seconds) sampled `tokens`."""
        self._steps.append((now, tokens))
        self._tokens += tokens
        while self._steps[0][0] < now - WINDOW_S:
            self._tokens -= self._steps.popleft()[1]

    def per_second(self) -> float:
        """Over the steps in the window; 0.0 with fewer than two: the first one marks where measuring begins."""
        if len(self._steps) < 2:
            return 0.0
        (begin, first), (end, _) = self._steps[0], self._steps[-1]
        return (self._tokens - first) / (end - begin) if end > begin else 0.0

    def clear(self) -> None:
        """The engine is idle: what comes next is measured afresh."""
        self._steps.clear()
        self._tokens = 0
