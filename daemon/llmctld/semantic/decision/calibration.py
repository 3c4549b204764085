"""How well predicted errors agree with observed ones: their ratio, with an upper bound.

The ratio has a gamma distribution. It starts at 1, as if `start` errors had been predicted and as many observed (a gamma prior
for the rate of a Poisson process), and moves with the evidence.
"""

import math


class Calibration:
    """`wrong` and `expected` are weighted sums of observed and predicted errors; `squares` is the sum of the squared weights of
    the observed ones, which says how much certainty the weights cost."""

    def __init__(self, start: float, wrong: float = 0.0, expected: float = 0.0, squares: float = 0.0) -> None:
        self.start = start
        self.wrong = wrong
        self.expected = expected
        self.squares = squares

    def observe(self, expected: float, wrong: bool, weight: float, fade: float = 0.0) -> None:
        """Adds a pair with the predicted error `expected`, which counts as `weight` pairs. Evidence before it loses the share
        `fade`."""
        keep = 1 - min(1.0, fade)
        self.wrong = keep * self.wrong + weight * wrong
        self.expected = keep * self.expected + weight * expected
        self.squares = keep * self.squares + weight * weight * wrong

    def ratio(self) -> float:
        return (self.start + self.wrong) / (self.start + self.expected)

    def upper(self, deviations: float) -> float:
        """The ratio's quantile, `deviations` standard deviations up. Weighted errors count as their effective
        number (Kish 1965)."""
        per = self.squares / self.wrong if self.wrong > 0 else 1.0
        shape = self.start + self.wrong / max(1.0, per)
        return self.ratio() * gamma_upper(shape, deviations)


def gamma_upper(shape: float, deviations: float) -> float:
    """The quantile of a gamma distribution of mean 1, `deviations` standard deviations up
    (Wilson and Hilferty 1931)."""
    third = 1 / (9 * shape)
    return max(0.0, 1 - third + deviations * math.sqrt(third)) ** 3
