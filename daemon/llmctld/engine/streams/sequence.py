"""One request while the engine works on it: its tokens, how far they are computed, and when what happened.

It knows neither the model nor the hub; what it tells is derived from plain fields that the scheduler and loop set.
"""

from dataclasses import dataclass, field

import numpy as np

from llmctld.engine.answer.text import Gain, Text
from llmctld.engine.drafts.speculation import NO_OFFER, Drafts, Offer
from llmctld.engine.messages import Adapter
from llmctld.engine.streams.radix import Tokens

NORMAL, BATCH = 1, 2


@dataclass(eq=False)
class Sequence:
    """Times are seconds of one monotonic clock. `tokens` holds the prompt, then what was sampled."""

    id: int
    tokens: list[int]
    prompt_tokens: int
    max_tokens: int
    text: Text = field(default_factory=Text)
    held: Gain = field(default_factory=Gain)
    """What the hub has not been told yet."""
    told: float = float("-inf")
    every_s: float = 0.0
    """How often it is told, at most; 0: of each gain."""
    user: str = ""
    priority: int = NORMAL
    """An index of queue.PRIORITIES."""
    adapters: tuple[Adapter, ...] = ()
    """What they compute is of no use to other adapters, and one step computes with one set of them."""
    alone: bool = False
    """Nothing else is computed while it runs, and nothing computed before is used."""
    stream: int | None = None
    position: int = 0
    """Tokens whose KV is computed; the token at this index goes into the model next."""
    cached: int = 0
    """Prompt tokens that were computed before it came."""
    batched: bool = False
    """Whether anything but its own tokens, computed in order from the first, may have touched the rounding."""
    marks: set[int] = field(default_factory=set)
    """Counts of tokens: when so many are computed, its state is saved (checkpoints.py)."""
    drafts: Drafts | None = None
    """None: it does not speculate."""
    drafted: int = 0
    accepted: int = 0
    """Drafted tokens that are part of the answer."""
    submitted: float = 0.0
    admitted: float | None = None
    first_token: float | None = None

    @property
    def completion_tokens(self) -> int:
        return len(self.tokens) - self.prompt_tokens

    @property
    def pending(self) -> int:
        return len(self.tokens) - self.position

    @property
    def is_decoding(self) -> bool:
        return self.completion_tokens > 0 and self.pending == 1

    @property
    def is_full(self) -> bool:
        return self.completion_tokens >= self.max_tokens

    @property
    def left(self) -> int:
        """Tokens that may still come."""
        return self.max_tokens - self.completion_tokens

    @property
    def begun(self) -> bool:
        """Whether it has run before, and was put off."""
        return self.admitted is not None

    @property
    def cost(self) -> int:
        """Tokens that its user pays in the queue: what it may take. One that was put off has paid."""
        return 0 if self.begun else self.prompt_tokens + self.max_tokens

    @property
    def prompt(self) -> Tokens:
        return np.array(self.tokens[: self.prompt_tokens], np.int32)

    @property
    def computed(self) -> Tokens:
        return np.array(self.tokens[: self.position], np.int32)

    def offer(self) -> Offer:
        """Tokens that may come next, as far as any may."""
        return self.drafts.offer(self.tokens, self.left - 1) if self.drafts else NO_OFFER

    def add(self, token: int, now: float) -> None:
        """Append a sampled token; the first one ends the prefill."""
        if self.first_token is None:
            self.first_token = now
        self.tokens.append(token)

    def timings(self, now: float) -> tuple[float, float, float]:
        """Milliseconds (waiting for a slot, computing the prompt, generating) if the request ends now."""
        admitted = now if self.admitted is None else self.admitted
        first = now if self.first_token is None else self.first_token
        return (admitted - self.submitted) * 1e3, (first - admitted) * 1e3, (now - first) * 1e3


@dataclass(frozen=True)
class Chunk:
    """`count` tokens of one sequence that go through the model in this step, from the sequence's position on.

    Behind them go those of `draft`, which may come next: as far as they do, the step gains more than one token.
    """

    sequence: Sequence
    stream: int
    start: int
    count: int
    draft: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        return self.sequence.tokens[self.start : self.start + self.count]

    @property
    def samples(self) -> bool:
        """Whether the model's next token follows this chunk: it reaches the end of what is known."""
        return self.start + self.count == len(self.sequence.tokens)
