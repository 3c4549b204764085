"""One request in the engine: its tokens, how many are computed, and its timestamps.

It knows neither the model nor the hub; everything it reports derives from fields that scheduler and loop set.
"""

from dataclasses import dataclass, field

import numpy as np

from llmctld.engine.answer.text import NewText, Text
from llmctld.engine.drafts.speculation import NO_OFFER, Drafts, Offer
from llmctld.engine.messages import Adapter
from llmctld.engine.streams.radix import Tokens

NORMAL, BATCH = 1, 2


@dataclass(eq=False)
class Sequence:
    """Times are seconds of one monotonic clock. `tokens` holds the prompt, then the sampled tokens."""

    id: int
    tokens: list[int]
    prompt_tokens: int
    max_tokens: int
    text: Text = field(default_factory=Text)
    held: NewText = field(default_factory=NewText)
    """Text not sent to the hub yet."""
    told: float = float("-inf")
    every_s: float = 0.0
    """Minimum seconds between two reports to the hub; 0: report every gain."""
    user: str = ""
    priority: int = NORMAL
    """An index of queue.PRIORITIES."""
    adapters: tuple[Adapter, ...] = ()
    """Cached tokens are valid for the same adapters only, and one step computes with one set of adapters."""
    alone: bool = False
    """Runs by itself (`--repro`): nothing else is computed meanwhile, and no cached prefix is used."""
    stream: int | None = None
    position: int = 0
    """Number of tokens whose KV is computed; the token at this index goes into the model next."""
    cached: int = 0
    """Prompt tokens that were already computed at admission."""
    batched: bool = False
    """Whether rounding may have been influenced by anything but its own tokens, computed in order from the first."""
    marks: set[int] = field(default_factory=set)
    """Token counts at which its state is saved (checkpoints.py)."""
    drafts: Drafts | None = None
    """None: no speculation."""
    drafted: int = 0
    accepted: int = 0
    """Drafted tokens that became part of the answer."""
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
    def tokens_left(self) -> int:
        """Tokens that may still be generated."""
        return self.max_tokens - self.completion_tokens

    @property
    def has_run(self) -> bool:
        """Whether it has run before and was preempted."""
        return self.admitted is not None

    @property
    def cost(self) -> int:
        """Tokens that its user pays in the queue: the most it may take. A preempted sequence has paid."""
        return 0 if self.has_run else self.prompt_tokens + self.max_tokens

    @property
    def prompt(self) -> Tokens:
        return np.array(self.tokens[: self.prompt_tokens], np.int32)

    @property
    def computed(self) -> Tokens:
        return np.array(self.tokens[: self.position], np.int32)

    def offer(self) -> Offer:
        """Drafted tokens for the next step, if any."""
        return self.drafts.offer(self.tokens, self.tokens_left - 1) if self.drafts else NO_OFFER

    def add(self, token: int, now: float) -> None:
        """Append a sampled token; the first one ends the prefill."""
        if self.first_token is None:
            self.first_token = now
        self.tokens.append(token)

    def timings(self, now: float) -> tuple[float, float, float]:
        """Milliseconds (waiting for a slot, computing the prompt, generating) if the request ended now."""
        admitted = now if self.admitted is None else self.admitted
        first = now if self.first_token is None else self.first_token
        return (admitted - self.submitted) * 1e3, (first - admitted) * 1e3, (now - first) * 1e3


@dataclass(frozen=True)
class Chunk:
    """`count` tokens of one sequence to compute in this step, from the sequence's position on.

    `draft` follows them: tokens that may come next. Each one that is right saves a step.
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
        """Whether a token is sampled after this chunk: it reaches the end of the known tokens."""
        return self.start + self.count == len(self.sequence.tokens)
