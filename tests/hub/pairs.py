"""Traffic made of pairs alone, whose truth is known: how often an answer is wrong at a given similarity, and how that changes."""

import math
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from llmctld.semantic.decision.bound import Audit, Bound
from llmctld.semantic.decision.pair import Pair


def natural(pair: Pair, when: float) -> float:
    return 1 / (1 + math.exp(2.6 + 18 * (pair.similarity - 0.9) + 4 * min(pair.gap, 0.2)))


WRONG: dict[str, Callable[[Pair, float], float]] = {
    "natural": natural,
    "every fifth, however near": lambda pair, when: 0.2,
    "one in fifty, however near": lambda pair, when: 0.02,
    "all wrong": lambda pair, when: 1.0,
    "all right": lambda pair, when: 0.0,
    "ten times as wrong in the end": lambda pair, when: min(1.0, natural(pair, when) * (1 + 9 * when)),
    "every fifth from the middle on": lambda pair, when: natural(pair, when) if when < 0.5 else 0.2,
}
"""The probability that the stored answer is wrong, by the pair and the share of the stream that has passed."""


class Played(NamedTuple):
    wrong: int
    requests: int
    calls: int
    audit: Audit

    @property
    def error(self) -> float:
        return self.wrong / self.requests

    @property
    def net(self) -> float:
        """Hit rate, every call counted."""
        return 1 - self.calls / self.requests


def stream(kind: str, requests: int, seed: int, near: float) -> Iterator[tuple[Pair | None, bool]]:
    """Pairs, and whether the stored answer serves. `near`: the share of requests with a neighbour at 0.9 to 1."""
    chance = random.Random(seed)
    for number in range(requests):
        if chance.random() > 0.9:
            yield None, False
            continue
        similarity = chance.uniform(0.9, 1) if chance.random() < near else min(0.999, chance.betavariate(12, 3))
        pair = Pair(similarity, min(similarity, chance.expovariate(6)), 1, similarity, number, False, 0, 0)
        yield pair, chance.random() >= WRONG[kind](pair, number / requests)


def play(bound: Bound, pairs: Iterator[tuple[Pair | None, bool]], verdicts: float = 1.0, seed: int = 0) -> Played:
    """Decides on each and learns what can be known. `verdicts`: the share of them that is right."""
    chance = random.Random(seed)
    wrong = requests = calls = 0
    for pair, same in pairs:
        requests += 1
        decision = bound.decide(pair)
        wrong += decision.serve and not same
        if decision.serve and not decision.verify:
            continue
        calls += 1
        if pair is not None:
            bound.learn(pair, decision, same if chance.random() < verdicts else not same)
    return Played(wrong, requests, calls, bound.audit())
