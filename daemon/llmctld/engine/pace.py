"""What a step, a prompt token and a copy of a stream cost here; and the prefill chunk that follows from it.

It knows milliseconds and counts that others hand it, and reads no clock of its own.
"""

DECAY = 0.98
"""Weight of the past at each step: the last fifty or so count."""
SHARE = 0.15
"""Of a mixed step, the part that may be spent on what each step costs anyway: smaller chunks keep others' tokens coming,
and make the long prompt itself wait longer."""
CHUNKS = (32, 256)
FIRST_CHUNK = 64
COPY_MS, COPY_BYTES_PER_MS = 0.3, 7e6
"""Measured once and not here: llama.cpp copies in the middle of the next step, where nobody can time it."""


class Pace:
    """A step is thought to take a + b x prompt tokens, fitted by least squares; `stream_bytes` are what a copy moves."""

    def __init__(self, stream_bytes: int = 0) -> None:
        self.copy_ms = COPY_MS + stream_bytes / COPY_BYTES_PER_MS
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    def add(self, prompt_tokens: int, ms: float) -> None:
        """A step that computed so many prompt tokens (and a token of each who generates) took so long."""
        x = float(prompt_tokens)
        self._n = DECAY * self._n + 1
        self._x = DECAY * self._x + x
        self._y = DECAY * self._y + ms
        self._xx = DECAY * self._xx + x * x
        self._xy = DECAY * self._xy + x * ms

    @property
    def token_ms(self) -> float:
        """One more prompt token. 1.0 until a prompt has been measured."""
        slope = self._slope()
        if slope > 0:
            return slope
        return self._y / self._x if self._x else 1.0

    @property
    def chunk(self) -> int:
        """Prompt tokens in a step in which others generate: the fewest that spend SHARE on what every step costs."""
        slope = self._slope()
        if slope <= 0:
            return FIRST_CHUNK
        fixed = max(0.0, (self._y - slope * self._x) / self._n)
        least, most = CHUNKS
        return min(most, max(least, int(fixed / slope * (1 - SHARE) / SHARE) // 16 * 16))

    def _slope(self) -> float:
        spread = self._n * self._xx - self._x * self._x
        return (self._n * self._xy - self._x * self._y) / spread if spread > 1e-6 * self._n * self._xx else 0.0
