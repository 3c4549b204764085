"""`models ls`, `models show` and `ps` as tables; what is shown was read by others."""

from collections.abc import Iterable
from typing import Any

from llmctl import wire
from llmctl.config import ModelEntry
from llmctl.view.units import or_dash, size

Table = tuple[list[str], list[list[str]]]


def models(entries: Iterable[ModelEntry], loaded: dict[str, str]) -> Table:
    """`loaded`: name -> state of its engine."""
    rows = [
        [
            entry.name,
            entry.kind,
            entry.backend,
            loaded.get(entry.name, "-"),
            ", ".join(entry.aliases) or "-",
            entry.target,
        ]
        for entry in entries
    ]
    return ["NAME", "KIND", "BACKEND", "STATE", "ALIASES", "TARGET"], rows


def as_json(entry: ModelEntry, state: str | None, default: bool) -> dict[str, Any]:
    """A line of `models ls --json`; `state` is null when no engine runs for it."""
    return {
        "name": entry.name,
        "target": entry.target,
        "backend": entry.backend,
        "kind": entry.kind,
        "aliases": entry.aliases,
        "settings": entry.settings,
        "state": state,
        "default": default,
    }


def one(entry: ModelEntry, state: str | None) -> Table:
    rows = [
        ["name", entry.name],
        ["kind", entry.kind],
        ["backend", entry.backend],
        ["target", entry.target],
        ["state", state or "not loaded"],
        ["aliases", ", ".join(entry.aliases) or "-"],
        *([f"setting {key}", str(value)] for key, value in sorted(entry.settings.items())),
    ]
    return ["", ""], rows


def engines(found: Iterable[wire.EngineStatus]) -> Table:
    rows = [
        [
            engine.name,
            engine.backend,
            str(engine.pid),
            engine.state,
            size(engine.memory_bytes),
            str(engine.context),
            f"{engine.busy}/{engine.slots}",
            or_dash(engine.tokens_per_second and f"{engine.tokens_per_second:.1f}"),
            or_dash(engine.until),
        ]
        for engine in found
    ]
    return ["NAME", "BACKEND", "PID", "STATE", "MEMORY", "CONTEXT", "BUSY", "TOK/S", "UNTIL"], rows
