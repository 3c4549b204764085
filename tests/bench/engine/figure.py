"""A ratio of two engines with its target: medians of rounds, and the row of the log's table that they make.

It knows numbers only; what was measured, and how, stands in the words that it is given.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

TOLERANCE = 0.03
"""A row passes within this share of its target: two runs on one machine differ by as much."""


class Figure(NamedTuple):
    """`target` is a least value, with `most` the largest one. `note` holds what the ratio was made of."""

    what: str
    value: float
    target: float
    most: bool = False
    note: str = ""
    unit: str = "times"
    tolerance: float = TOLERANCE

    @property
    def passes(self) -> bool:
        if self.most:
            return self.value <= self.target * (1 + self.tolerance)
        return self.value >= self.target * (1 - self.tolerance)

    def row(self) -> str:
        bound = "<=" if self.most else ">="
        note = f" ({self.note})" if self.note else ""
        verdict = "pass" if self.passes else "**miss**"
        value = f"{self.value:,.0f}" if self.tolerance == 0 else f"{self.value:.3f}"
        return f"| {self.what}{note} | {value} {self.unit} | {bound} {self.target:,.4g} {self.unit} | {verdict} |"


def ratio(
    what: str, ours: Sequence[float], theirs: Sequence[float], target: float, unit: str, *, most: bool = False
) -> Figure:
    """The median of the rounds' own ratios: both sides of a round ran under the same weather."""
    value = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    note = f"medians {statistics.median(ours):.4g} against {statistics.median(theirs):.4g} {unit}"
    return Figure(what, value, target, most, note)


def count(what: str, values: Sequence[int], target: int, of: int, theirs: Sequence[int]) -> Figure:
    """A number of tokens, at most `target`: counted, so there is nothing to tolerate."""
    note = f"of {of:,}; llama-server {statistics.median(theirs):,.0f}"
    return Figure(what, statistics.median(values), target, True, note, "tokens", 0.0)
