"""`cache stats` as a table and a sentence."""

from typing import Any

from llmctl import wire
from llmctl.view.models import Table
from llmctl.view.units import or_dash, share, size, span


def levels(stats: wire.CacheStats) -> Table:
    rows = [
        [
            level.level,
            str(level.hits),
            str(level.misses),
            str(level.errors),
            str(level.entries),
            size(level.bytes),
            or_dash(None if level.p50_ms is None else f"{level.p50_ms:.2f} ms"),
            level.state,
        ]
        for level in stats.levels
    ]
    return ["LEVEL", "HITS", "MISSES", "ERRORS", "ENTRIES", "BYTES", "P50", "STATE"], rows


def summary(stats: wire.CacheStats) -> str:
    return (
        f"{stats.requests} requests, {share(stats.hit_rate)} from the cache, "
        f"{stats.joined} joined one in flight, {span(stats.saved_s)} saved"
    )


def total(stats: wire.CacheStats) -> dict[str, Any]:
    """The last line of `cache stats --json`."""
    return {
        "level": "all",
        "requests": stats.requests,
        "hit_rate": stats.hit_rate,
        "joined": stats.joined,
        "saved_s": stats.saved_s,
        "saved_cost": stats.saved_cost,
    }
