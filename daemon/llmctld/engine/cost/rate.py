"""Tokens per second over the last few seconds.

Callers pass in counts and times. This module reads no clock.
"""

from collections import deque

WINDOW_S = 3.0


class Rate:
    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque()
        self._tokens = 0

    def add(self, now: float, tokens: int) -> None:
        """Record a step that ended at `now` (seconds) and sampled `tokens` tokens."""
        self._steps.append((now, tokens))
        self._tokens += tokens
        while self._steps[0][0] < now - WINDOW_S:
            self._tokens -= self._steps.popleft()[1]

    def per_second(self) -> float:
        """Rate over the steps in the window; 0.0 with fewer than two, since the first only marks the start."""
        if len(self._steps) < 2:
            return 0.0
        (begin, first), (end, _) = self._steps[0], self._steps[-1]
        return (self._tokens - first) / (end - begin) if end > begin else 0.0

    def clear(self) -> None:
        """Forget all steps: the engine is idle."""
        self._steps.clear()
        self._tokens = 0
