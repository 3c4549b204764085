"""Numbers with a target, and how samples become one."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Number(NamedTuple):
    """One measurement. `target`: at most that, with `least` at least that; None: only told.

    `unit` follows the figure, `note` explains it.
    """

    what: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""
    least: bool = False

    @property
    def passes(self) -> bool:
        return self.target is None or (self.value >= self.target if self.least else self.value <= self.target)

    def row(self) -> str:
        target = "" if self.target is None else f"{'>=' if self.least else '<='} {self.target:g} {self.unit}"
        verdict = "" if self.target is None else "pass" if self.passes else "**miss**"
        note = f" ({self.note})" if self.note else ""
        return f"| {self.what}{note} | {self.value:.3g} {self.unit} | {target} | {verdict} |"


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample that `share` (0..1) of them do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(samples: Sequence[float]) -> str:
    """median/p90/p99 as they are noted beside a figure."""
    return f"median {statistics.median(samples):.3g}, p90 {percentile(samples, 0.9):.3g}, p99 {percentile(samples, 0.99):.3g}"
