"""A Bayesian logistic regression that learns one pair at a time.

It sees features and outcomes, not texts. The coefficients are a normal distribution; each outcome is one Newton step on it
(Laplace approximation: Bishop, Pattern Recognition and Machine Learning, 4.4 and 4.5). Old evidence fades: the covariance
returns to that of the prior, so the classifier can keep learning.
"""

import math
from collections.abc import Sequence

FORGETS = 2000
"""Pairs in which the covariance goes two thirds of the way back to the prior's, without new evidence."""


class Classifier:
    def __init__(self, mean: Sequence[float], covariance: Sequence[Sequence[float]]) -> None:
        """`covariance` is the prior's, symmetric."""
        self.mean = list(mean)
        self.first = [list(row) for row in covariance]
        self.covariance = [list(row) for row in covariance]

    def predict(self, features: Sequence[float]) -> float:
        """The probability of the outcome."""
        return _logistic(sum(a * b for a, b in zip(self.mean, features, strict=True)))

    def learn(self, features: Sequence[float], outcome: bool, weight: float = 1.0) -> None:
        """Learns from one pair that counts as `weight` pairs."""
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
