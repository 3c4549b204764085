"""A logistic regression that learns from one pair at a time, in a microsecond or fifty.

Knows features and outcomes; not what they stand for. The coefficients are a normal distribution (its covariance says what
may still be learned); an outcome is one Newton step. What was learned ages: the covariance drifts back to the prior's.
"""

import math
from collections.abc import Sequence

FORGETS = 2000
"""Pairs after which the covariance is two thirds of the way back to the prior's, if nothing were seen."""


class Belief:
    def __init__(self, mean: Sequence[float], covariance: Sequence[Sequence[float]]) -> None:
        """`covariance` is the prior's, symmetric."""
        self.mean = list(mean)
        self.first = [list(row) for row in covariance]
        self.covariance = [list(row) for row in covariance]

    def predict(self, features: Sequence[float]) -> float:
        """The probability of the outcome."""
        return _logistic(sum(a * b for a, b in zip(self.mean, features, strict=True)))

    def learn(self, features: Sequence[float], outcome: bool, weight: float = 1.0) -> None:
        """Sees one pair, which stands for `weight` pairs."""
        predicted = self.predict(features)
        moved = [sum(a * b for a, b in zip(row, features, strict=True)) for row in self.covariance]
        curvature = weight * predicted * (1 - predicted)
        spread = 1 + curvature * sum(a * b for a, b in zip(moved, features, strict=True))
        step = weight * (outcome - predicted) / spread
        self.mean = [a + step * b for a, b in zip(self.mean, moved, strict=True)]
        shrink = curvature / spread
        keep, back = 1 - 1 / FORGETS, 1 / FORGETS
        self.covariance = [
            [keep * (old - shrink * a * b) + back * prior for old, prior, b in zip(row, first, moved, strict=True)]
            for row, first, a in zip(self.covariance, self.first, moved, strict=True)
        ]


def _logistic(score: float) -> float:
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))
