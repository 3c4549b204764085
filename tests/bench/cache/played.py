"""A stream of questions played against a decision, with vectors made before: what the semantic cache would do, in seconds.

Walls are left out (all questions stand behind one), guards are the real ones.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from llmctld.semantic.decision.bound import Decision
from llmctld.semantic.decision.pair import Neighbour, Pair, describe
from llmctld.semantic.guards.refusal import refusal

NEAREST, NEIGHBOURS = 300, 5
"""Nearest of all questions that are kept for each, and of those stored by then that are looked at."""


class Decides(Protocol):
    def decide(self, pair: Pair | None) -> Decision: ...

    def count_judge_question(self) -> None: ...

    def learn(self, pair: Pair, decision: Decision, same: bool) -> None: ...


class Stream:
    """Questions, the groups that share an answer, and the nearest of each."""

    def __init__(self, texts: Sequence[str], groups: Sequence[int], vectors: Any) -> None:
        self.texts, self.groups = texts, groups
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -2)
        self.near = np.argsort(-cosines, axis=1)[:, : min(NEAREST, len(texts) - 1)]
        self.cosines = np.take_along_axis(cosines, self.near, 1).astype(float)
        self._refused: dict[tuple[int, int], bool] = {}

    def refuses(self, one: int, other: int) -> bool:
        """Whether a guard does."""
        pair = (min(one, other), max(one, other))
        if pair not in self._refused:
            self._refused[pair] = refusal(self.texts[one], self.texts[other]) is not None
        return self._refused[pair]


class Outcome(NamedTuple):
    """Counts. `calls`: of the model, those to verify and to explore too."""

    requests: int
    calls: int
    wrong: int


def play(stream: Stream, seed: int, decides: Decides, lies: float = 0.0) -> Outcome:
    """In an order drawn by `seed`. `lies`: the share of comparisons that come out wrong."""
    order, chance = np.random.default_rng(seed).permutation(len(stream.texts)), random.Random(seed)
    stored = np.zeros(len(stream.texts), bool)
    history: dict[int, list[int]] = {}
    calls = wrong = size = 0
    for new in map(int, order):
        places = np.flatnonzero(stored[stream.near[new]])[:NEIGHBOURS]
        found = [(int(stream.near[new, place]), float(stream.cosines[new, place])) for place in places]
        found = [(other, cosine) for other, cosine in found if cosine < 0.6 or not stream.refuses(new, other)]
        near = [
            Neighbour(cosine, stream.groups[other], stream.texts[other], *history.get(other, (0, 0)))
            for other, cosine in found
        ]
        pair = describe(stream.texts[new], near, size)
        right = bool(found) and stream.groups[found[0][0]] == stream.groups[new]
        decision = decides.decide(pair)
        wrong += decision.serve and not right
        if decision.serve and not decision.verify:
            continue
        calls += 1
        if pair is not None and decision.judge:
            if not right:  # nothing but a judge tells two wordings from two answers
                calls += 1
                decides.count_judge_question()
            heard = right != (chance.random() < lies)
            decides.learn(pair, decision, heard)
            if decision.close:
                history.setdefault(found[0][0], [0, 0])[not heard] += 1
        stored[new] = True
        size += 1
    return Outcome(len(stream.texts), calls, wrong)


def plays(
    stream: Stream, seeds: Sequence[int], make: Callable[[int], Any], lies: float = 0.0
) -> list[tuple[Outcome, Any]]:
    """An outcome for each seed, with the decision as it stood at the end."""
    found = []
    for seed in seeds:
        decides = make(seed)
        found.append((play(stream, seed, decides, lies), decides))
    return found
