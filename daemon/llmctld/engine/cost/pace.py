"""What a prompt token and a copy of a stream cost here; and how long those who generate stand still for a prompt.

It knows milliseconds and counts that others hand it, and reads no clock of its own.
"""

DECAY = 0.98
"""Weight of the past at each prompt step: the last fifty or so count."""
HELD_UP = 3.0
"""Times as long as expected. What a token takes grows with those before it, but not by so much from one step to the next."""
STALL_MS = 400.0
"""Those who generate stand still for so long at most, then they have a step of their own: that is a few percent of it."""
CHUNKS = (64, 4096)
"""Tokens of a prompt in one step, while others generate. Flash attention on a CPU goes by tiles of 64 rows
(GGML_FA_TILE_Q): with 3,000 tokens before them 32 tokens took 10 ms each, and 64 took 5."""
FIRST_CHUNK = MULTIPLE = CHUNKS[0]
"""The first: before anything was measured."""
COPY_MS, COPY_BYTES_PER_MS = 0.3, 7e6
"""Measured once and not here: llama.cpp copies in the middle of the next step, where nobody can time it."""


class Pace:
    """A prompt step is thought to take a + b x tokens, fitted by least squares; `stream_bytes` are what a copy moves.

    One step more is thought to have been measured, of no tokens and no time: between steps of 512 and one of 466 there is
    little but noise, by which a token would cost several times what it does, or nothing, and nothing would be saved.
    """

    def __init__(self, stream_bytes: int = 0) -> None:
        self.copy_ms = COPY_MS + stream_bytes / COPY_BYTES_PER_MS
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._latest: float | None = None
        """Milliseconds of a token, over the last steps: the further a prompt is, the dearer is the next."""
        self._stalled = 0.0

    def prompted(self, tokens: int, ms: float) -> None:
        """A step that computed nothing but so many tokens of a prompt took so long.

        One that was held up, by another program or a file that had to be read, counts as HELD_UP times what was expected at
        most; and after one that took so much less, those before are thought to have been held up, and are forgotten.
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
        """Those who generate have had a step."""
        self._stalled = 0.0

    @property
    def token_ms(self) -> float:
        """One more prompt token. 1.0 until a prompt has been measured."""
        return self._line()[1] if self._x else 1.0

    def _line(self) -> tuple[float, float]:
        """Milliseconds of a step without tokens, and of each of them."""
        n = self._n + 1
        slope = (n * self._xy - self._x * self._y) / (n * self._xx - self._x * self._x)
        return ((self._y - slope * self._x) / n, slope) if slope > 0 else (0.0, self._y / self._x)

    @property
    def chunk(self) -> int:
        """Tokens of a prompt that take STALL_MS."""
        if self._latest is None:
            return FIRST_CHUNK
        least, most = CHUNKS
        return min(most, max(least, int(STALL_MS / max(self._latest, 1e-6)) // MULTIPLE * MULTIPLE))

    def has_time_for(self, tokens: int) -> bool:
        """Whether those who generate can stand still for a step with so many tokens; always, when they just had one."""
        return not self._stalled or self._stalled + tokens * (self._latest or 0.0) <= STALL_MS
