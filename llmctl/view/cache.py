"""`cache stats`, `ls`, `show` and `audit` as tables and sentences."""

import time
from collections.abc import Iterable
from typing import Any

import msgspec

from llmctl import wire
from llmctl.errors import counted
from llmctl.view import lifetime
from llmctl.view.models import Table
from llmctl.view.units import or_dash, share, size, span

WIDEST = 80
"""Maximum width of a question in a table."""


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
            level.state if level.error is None else f"{level.state}: {level.error}",
        ]
        for level in stats.levels
    ]
    return ["LEVEL", "HITS", "MISSES", "ERRORS", "ENTRIES", "BYTES", "P50", "STATE"], rows


def summary(stats: wire.CacheStats) -> str:
    return (
        f"{counted(stats.requests, 'request')}, {share(stats.hit_rate)} from the cache, "
        f"{stats.joined} joined an equal running request, {span(stats.saved_s)} saved"
    )


def prefetch(stats: wire.PrefetchStats) -> str:
    """What prefetch did, and why it is stopped, if so."""
    line = (
        f"prefetch is {stats.state}: {counted(stats.prefetched, 'answer')} prefetched, {stats.used} used ({span(stats.gain_s)} "
        f"saved), {stats.wasted} unused ({span(stats.waste_s)} wasted), {stats.waiting} still open; "
        f"{stats.budget_left} more allowed this hour"
    )
    return f"{line}\n{stats.reason}" if stats.reason else line


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


def entries(found: Iterable[wire.CacheEntry]) -> Table:
    now = time.time()
    rows = [
        [
            entry.key,
            entry.model,
            entry.user,
            ", ".join(entry.tags) or "-",
            span(max(0.0, now - entry.created)),
            span(max(0.0, entry.expires - now)),
            size(entry.bytes),
            str(entry.hits),
            words(entry.prompt, 40),
        ]
        for entry in found
    ]
    return ["KEY", "MODEL", "USER", "TAGS", "AGE", "LEFT", "BYTES", "HITS", "PROMPT"], rows


def words(text: str, width: int) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width else line[: width - 1] + "…"


def one(found: wire.CacheShown) -> Table:
    entry, now = found.entry, time.time()
    rest = {name: fields for name, fields in found.more.items() if name != "lifetime"}
    rows = [
        ["key", entry.key],
        ["model", entry.model],
        ["user", entry.user],
        ["tags", ", ".join(entry.tags) or "-"],
        ["conversation", entry.conversation or "-"],
        ["prompt", words(entry.prompt, 200)],
        ["age", span(max(0.0, now - entry.created))],
        ["left", span(max(0.0, entry.expires - now))],
        ["size", size(entry.bytes)],
        ["computed in", span(entry.seconds)],
        ["hits", str(entry.hits)],
        ["last hit", "-" if entry.last_hit is None else f"{span(max(0.0, now - entry.last_hit))} ago"],
        ["levels", ", ".join(f"{level.level} ({span(max(0.0, level.left_s))} left)" for level in found.levels) or "-"],
        ["finish reason", found.finish_reason],
        *lifetime.lines(found.more.get("lifetime", {})),
        *([name, f"{field}: {value}"] for name, fields in rest.items() for field, value in fields.items()),
    ]
    return ["", ""], rows


def shown(found: wire.CacheShown) -> dict[str, Any]:
    """The line of `cache show --json`: the fields of `ls`, and the rest of the entry."""
    line: dict[str, Any] = msgspec.to_builtins(found.entry)
    for name in ("levels", "text", "reasoning", "finish_reason", "usage", "samples"):
        line[name] = msgspec.to_builtins(getattr(found, name))
    return line | found.more


def audit(found: wire.SemanticAudit) -> list[str]:
    """Lines of `cache audit`."""
    return [
        f"{counted(found.requests, 'request')} used the semantic cache, {found.hits} got an answer from it "
        f"({share(found.hit_rate)})",
        _wrong(found),
        f"the limit is {found.max_error:.2%} (cache.semantic.max_error)",
        f"{found.explored} computed anyway to learn, {found.verified} verified after being served, "
        f"{counted(found.judged, 'pair')} judged by a model ({found.judge}), {found.undone} rejected with `llmctl cache undo`",
    ]


def _wrong(found: wire.SemanticAudit) -> str:
    if found.wrong_rate is None or found.wrong_rate_upper is None:
        return "wrong: unknown; no pair of questions has been verified yet"
    return (
        f"wrong: {found.wrong_rate:.2%} of all requests, at most {found.wrong_rate_upper:.2%} (95 %), "
        f"from {counted(found.pairs, 'verified pair')}"
    )


def undone(found: wire.HitUndone) -> str:
    what = f"the answer to {found.question!r}" if found.question else f"the answer {found.key}"
    return f"{what} is no longer served to other questions; it was served to these:"


def served(rows: list[wire.ServedTo]) -> Table:
    return ["REQUEST", "USER", "WHEN", "QUESTION"], [
        [row.id[:12], row.user, _when(row.at), " ".join((row.prompt or "").split())[:WIDEST]] for row in rows
    ]


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
