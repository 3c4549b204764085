"""How often the prediction was wrong, and how wrong it may be: a ratio of seen to expected errors with an upper bound.

Knows counts and weights. The ratio has a gamma distribution that starts at 1 (the prediction is believed, as if `start`
expected errors had been seen) and is told what was seen.
"""

import math


class Odds:
    """`wrong` and `expected` are weighted sums; `squares` is what the weights cost in certainty."""

    def __init__(self, start: float, wrong: float = 0.0, expected: float = 0.0, squares: float = 0.0) -> None:
        self.start = start
        self.wrong = wrong
        self.expected = expected
        self.squares = squares

    def see(self, expected: float, wrong: bool, weight: float, fade: float = 0.0) -> None:
        """A pair whose error was `expected` (a probability) and which stands for `weight` pairs; what was seen before counts
        less by the share `fade`."""
        keep = 1 - min(1.0, fade)
        self.wrong = keep * self.wrong + weight * wrong
        self.expected = keep * self.expected + weight * expected
        self.squares = keep * self.squares + weight * weight * wrong

    def ratio(self) -> float:
        return (self.start + self.wrong) / (self.start + self.expected)

    def upper(self, deviations: float) -> float:
        """The ratio, so many standard deviations up: what was seen counts as much as its weights leave certain."""
        per = self.squares / self.wrong if self.wrong > 0 else 1.0
        shape = self.start + self.wrong / max(1.0, per)
        return self.ratio() * gamma_upper(shape, deviations)


def gamma_upper(shape: float, deviations: float) -> float:
    """The quantile of a gamma distribution of mean 1, at so many standard deviations of a normal one (Wilson, Hilferty 1931)."""
    third = 1 / (9 * shape)
    return max(0.0, 1 - third + deviations * math.sqrt(third)) ** 3
