"""`models suggest` as a table, and as JSON lines."""

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

from llmctl.suggestions import READABLE, Ranked, Room, gigabytes
from llmctl.view.models import Table
from llmctl.view.table import plain
from llmctl.view.units import or_dash, size


def table(found: Iterable[Ranked]) -> Table:
    rows = [
        [
            it.model.name,
            ", ".join(it.model.good_at),
            gigabytes(it.model),
            size(it.model.needs_bytes),
            _fits(it),
            or_dash(it.rate and f"{it.rate:.1f}"),
            f"{it.model.context:,}",
            it.model.licence,
            it.model.command,
        ]
        for it in found
    ]
    return ["MODEL", "GOOD AT", "SIZE", "MEMORY", "FITS", "TOK/S", "CONTEXT", "LICENCE", "FETCH"], rows


def in_width(found: Sequence[Ranked], width: int) -> tuple[Table, list[str]]:
    """The table for a terminal of `width` columns, and the lines below it: the commands, where the table has no room for them.
    A command that is folded cannot be copied.
    """
    head, rows = table(found)
    longest = max(map(len, plain(head, rows).splitlines()), default=0)
    if longest <= width:
        return (head, rows), []
    return (head[:-1], [row[:-1] for row in rows]), [it.model.command for it in found if it.fits]


def _fits(it: Ranked) -> str:
    if not it.fits:
        return "no"
    return "slow" if it.rate is not None and it.rate < READABLE else "yes"


def as_json(it: Ranked, dated: datetime.date) -> dict[str, Any]:
    """A line of `models suggest --json`; `tokens_per_second` is an estimate, and null if unknown."""
    model = it.model
    return {
        "name": model.name,
        "repo": model.repo,
        "file": model.file,
        "quantization": model.quantization,
        "bytes": model.bytes,
        "exact": model.exact,
        "sha256": model.sha256,
        "parameters": round(model.parameters * 1e9),
        "active_parameters": round((model.active or model.parameters) * 1e9),
        "licence": model.licence,
        "context": model.context,
        "good_at": model.good_at,
        "note": model.note,
        "memory_bytes": model.needs_bytes,
        "fits": it.fits,
        "tokens_per_second": it.rate and round(it.rate, 1),
        "fetch": model.command,
        "dated": dated.isoformat(),
    }


def machine(room: Room, measured: str | None, dated: datetime.date) -> str:
    """What the table was made for, in one line."""
    places = [f"{size(room.host)} of memory"] + ([f"{size(room.gpu)} on GPUs"] if room.gpu else [])
    rates = [
        f"{rate / 1e9:.0f} GB/s{where}"
        for rate, where in ((room.host_rate, ""), (room.gpu_rate, " on the GPU"))
        if rate
    ]
    listed = f"The list is dated {dated.isoformat()}"
    if not rates:
        return f"models may use {' and '.join(places)}; the memory bandwidth could not be measured. {listed}"
    speed = f"read at {' and '.join(rates)} (measured {measured})"
    return f"models may use {' and '.join(places)}, {speed}. TOK/S is an estimate. {listed}"
