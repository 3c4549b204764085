"""Time per prompt token and per stream copy; how large a prompt chunk may be while other requests generate.

Callers pass in milliseconds and counts. This module reads no clock.
"""

DECAY = 0.98
"""Weight of earlier measurements at each prompt step: about the last fifty count."""
HELD_UP = 3.0
"""A step that takes this many times longer than expected is an outlier. Time per token grows with the tokens before it, but not
by this much from one step to the next."""
STALL_MS = 400.0
"""Longest pause for requests that generate while a prompt is computed; then they get a step of their own."""
CHUNKS = (64, 4096)
"""Smallest and largest prompt chunk, in tokens, while other requests generate. Flash attention on a CPU works on tiles of 64 rows
(GGML_FA_TILE_Q): after 3,000 tokens, a chunk of 32 took 10 ms per token and a chunk of 64 took 5 ms."""
FIRST_CHUNK = MULTIPLE = CHUNKS[0]
"""Chunk size before anything is measured."""
COPY_MS, COPY_BYTES_PER_MS = 0.3, 7e6
"""Stream copy: fixed part, and bytes per millisecond. Constants, because llama.cpp copies inside the next step, where the copy
cannot be timed."""


class Pace:
    """Predicts the time of a prompt step as a + b x tokens, fitted by least squares. `stream_bytes` is the size of a stream copy.

    The fit includes one extra point of zero tokens and zero time. Without it, noise between steps of 512 and 466 tokens could
    give a slope that is several times too large, or zero.
    """

    def __init__(self, stream_bytes: int = 0) -> None:
        self.copy_ms = COPY_MS + stream_bytes / COPY_BYTES_PER_MS
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._latest: float | None = None
        """Milliseconds per token over the last steps; it grows with the length of the prompt."""
        self._stalled = 0.0

    def prompted(self, tokens: int, ms: float) -> None:
        """Record a step of `tokens` prompt tokens only, which took `ms`.

        An outlier (another program, a file read) counts as HELD_UP times the expected time at most. If a step is HELD_UP times
        faster than expected, the earlier measurements were outliers and are dropped.
        """
        x = float(tokens)
        if self._n:
            start, slope = self._line()
            expected = start + slope * x
            if ms * HELD_UP < expected:
                self._n = self._x = self._y = self._xx = self._xy = 0.0
                self._latest = None
            ms = min(ms, HELD_UP * expected)
        self._n = DECAY * self._n + 1
        self._x = DECAY * self._x + x
        self._y = DECAY * self._y + ms
        self._xx = DECAY * self._xx + x * x
        self._xy = DECAY * self._xy + x * ms
        self._latest = ms / x if self._latest is None else (self._latest + ms / x) / 2
        self._stalled += ms

    def generated(self) -> None:
        """Record that the generating requests had a step."""
        self._stalled = 0.0

    @property
    def token_ms(self) -> float:
        """Milliseconds per additional prompt token; 1.0 before any prompt is measured."""
        return self._line()[1] if self._x else 1.0

    def _line(self) -> tuple[float, float]:
        """Fixed milliseconds of a step, and milliseconds per token."""
        n = self._n + 1
        slope = (n * self._xy - self._x * self._y) / (n * self._xx - self._x * self._x)
        return ((self._y - slope * self._x) / n, slope) if slope > 0 else (0.0, self._y / self._x)

    @property
    def chunk(self) -> int:
        """Number of prompt tokens that take STALL_MS."""
        if self._latest is None:
            return FIRST_CHUNK
        least, most = CHUNKS
        return min(most, max(least, int(STALL_MS / max(self._latest, 1e-6)) // MULTIPLE * MULTIPLE))

    def has_time_for(self, tokens: int) -> bool:
        """Whether a step with `tokens` prompt tokens keeps the pause within STALL_MS. Always true right after a generating
        step."""
        return not self._stalled or self._stalled + tokens * (self._latest or 0.0) <= STALL_MS
