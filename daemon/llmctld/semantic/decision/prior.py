"""The classifier before any evidence: its features, and the coefficients that come with the package.

`prior.json` is made by `tests/bench/cache/fit_prior.py`; it holds numbers and the names of the features, no text.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

from llmctld.semantic.decision.pair import Pair

FEATURES = ("constant", "similarity", "size", "gap", "narrow gap", "kin", "likeness", "failed", "restated")
"""Stored with what was learned: other names would discard it. "kin" is `agreeing`, "likeness" `mean_similarity`."""


class Prior(NamedTuple):
    """A logistic regression for "the stored answer is wrong here", as a normal distribution of its coefficients."""

    mean: list[float]
    covariance: list[list[float]]
    pairs: int
    """How many observed pairs it weighs as much as."""


def features(pair: Pair) -> list[float]:
    """About -1 to 1 each, in the order of `FEATURES`. A restatement has features of its own: its cosine says nothing more."""
    failed = math.log1p(pair.different)
    if pair.restated:
        return [*[0.0] * (len(FEATURES) - 2), failed, 1.0]
    return [
        1.0,
        10 * (pair.similarity - 0.9),
        math.log(pair.size + 20) - 7,
        10 * max(-0.05, min(pair.gap, 0.4)) - 1,
        20 * min(pair.gap, 0.1) - 1,
        math.log(pair.agreeing),
        10 * (pair.mean_similarity - 0.9),
        failed,
        0.0,
    ]


@cache
def shipped() -> Prior:
    """The prior of the package. Raises ValueError if its features are others than `FEATURES`."""
    table = json.loads(Path(__file__).with_name("prior.json").read_text(encoding="utf-8"))
    if tuple(table["features"]) != FEATURES:
        raise ValueError(f"prior.json has the features {table['features']}, not {list(FEATURES)}")
    return Prior(table["mean"], table["covariance"], table["pairs"])
