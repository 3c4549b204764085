"""What the clients send: seeded prompts as token ids, one of some shared prefixes and tokens of their own each.

The same seed gives the same prompts to every engine; it knows no engine, and nothing of how fast they are sent.
"""

import random
from typing import NamedTuple

TOKENS = range(1000, 30000)
"""Ids that are plain text in any vocabulary of 32,000: no control tokens, no bytes."""


class Load(NamedTuple):
    """`requests` prompts from `clients` that each wait for their answer before they ask again.

    A prompt is one of `templates` prefixes of `prefix` tokens and `unique` tokens of its own; its answer has `generated`.
    """

    clients: int
    requests: int
    templates: int
    prefix: int
    unique: int
    generated: int

    @property
    def prompt_tokens(self) -> int:
        return self.requests * (self.prefix + self.unique)


def prompts(load: Load, seed: int = 1) -> list[list[int]]:
    """All prompts of a load, in the order in which they are sent."""
    rng = random.Random(seed)
    shared = [_tokens(rng, load.prefix) for _ in range(load.templates)]
    return [shared[rng.randrange(load.templates)] + _tokens(rng, load.unique) for _ in range(load.requests)]


def words(requests: int, count: int, seed: int = 1) -> list[str]:
    """Prompts as text, for a server that takes no token ids: `count` numbers of three digits each."""
    rng = random.Random(seed)
    return [" ".join(str(rng.randrange(100, 1000)) for _ in range(count)) for _ in range(requests)]


class Arrival(NamedTuple):
    """A request `pause` seconds after the client's last answer."""

    pause: float
    prompt: list[int]
    generated: int


def arrivals(seed: int = 1) -> list[list[Arrival]]:
    """A trace for each of six clients, of which the first never pauses: one to six requests run at any time."""
    rng = random.Random(seed)

    def one(longest: float) -> Arrival:
        return Arrival(rng.uniform(0, longest), _tokens(rng, 16), rng.randrange(32, 65))

    return [[one(0.0) for _ in range(10)], *([one(1.5) for _ in range(6)] for _ in range(5))]


def _tokens(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(TOKENS.start, TOKENS.stop) for _ in range(count)]
