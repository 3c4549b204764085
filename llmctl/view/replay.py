"""`cache replay` as a table and a summary line."""

from collections.abc import Sequence
from typing import NamedTuple

from llmctl.errors import counted
from llmctl.view.models import Table
from llmctl.view.units import or_dash, share, size, span


class Played(NamedTuple):
    policy: str
    hits: int
    hit_rate: float
    recomputed_s: float
    recomputed_cost: float | None


def table(played: Sequence[Played]) -> Table:
    """The policies, the one that computed least first."""
    rows = [
        [line.policy, str(line.hits), share(line.hit_rate), span(line.recomputed_s), or_dash(line.recomputed_cost)]
        for line in sorted(played, key=lambda line: line.recomputed_s)
    ]
    return ["POLICY", "HITS", "RATE", "COMPUTED", "COST"], rows


def summary(requests: int, keys: int, limit: int) -> str:
    return f"{counted(requests, 'request')}, {keys} of them different, in a cache of {size(limit)}"
