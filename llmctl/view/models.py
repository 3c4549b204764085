"""`models ls`, `models show`, `models estimate` and `ps` as tables."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from llmctl import wire
from llmctl.config import PRICES, ModelEntry, Size
from llmctl.view.units import or_dash, share, size, span

Table = tuple[list[str], list[list[str]]]


def models(entries: Iterable[ModelEntry], loaded: dict[str, str]) -> Table:
    """`loaded`: name of a model -> state of its engine."""
    rows = [
        [
            entry.name,
            entry.kind,
            entry.backend,
            loaded.get(entry.name, "-"),
            entry.settings.get("tier", "-"),
            ", ".join(entry.aliases) or "-",
            entry.target,
        ]
        for entry in entries
    ]
    return ["NAME", "KIND", "BACKEND", "STATE", "TIER", "ALIASES", "TARGET"], rows


def as_json(entry: ModelEntry, state: str | None, default: bool, sha256: str | None = None) -> dict[str, Any]:
    """A line of `models ls --json`; `state` is null without an engine, `sha256` until the hub has computed it."""
    return {
        "name": entry.name,
        "target": entry.target,
        "backend": entry.backend,
        "kind": entry.kind,
        "aliases": entry.aliases,
        "settings": plain(entry.settings),
        "pulled": entry.pulled or None,
        "origin": entry.origin or None,
        "state": state,
        "default": default,
        "sha256": sha256,
    }


def added(model: wire.Model) -> dict[str, Any]:
    """The line of `models add --json` and `pull --json`."""
    fields = msgspec.structs.asdict(model)
    return fields | {"settings": plain(model.settings)}


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for JSON: prices, durations and sizes become numbers."""
    return {key: _plain(key, value) for key, value in settings.items()}


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, float) or (key in PRICES and value is not None):
        return float(value)
    return int(value) if isinstance(value, Size) else value


def one(
    entry: ModelEntry,
    state: str | None,
    sha256: str | None = None,
    over: Mapping[str, Any] = {},
    rung: str | None = None,
) -> Table:
    """`over`: settings from the configuration, which win over those the model was added with. `rung`: which features of llama.cpp
    its engine uses.
    """
    rows = [
        ["name", entry.name],
        ["kind", entry.kind],
        ["backend", entry.backend],
        ["target", entry.target],
        ["state", state or "not loaded"],
        *([["rung", rung]] if rung else []),
        ["aliases", ", ".join(entry.aliases) or "-"],
        ["sha256", sha256 or "-"],
        *([["pulled from", entry.pulled]] if entry.pulled else []),
        *([["origin", entry.origin]] if entry.origin else []),
        *([f"setting {key}", _setting(key, entry, over)] for key in sorted(entry.settings.keys() | over.keys())),
    ]
    return ["", ""], rows


def _setting(key: str, entry: ModelEntry, over: Mapping[str, Any]) -> str:
    if key not in over:
        return _told(entry.settings[key])
    instead = f", instead of {_told(entry.settings[key])}" if key in entry.settings else ""
    return f"{_told(over[key])} (models.{entry.name}.{key} of the configuration{instead})"


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


class InEffect(Protocol):
    """A price in effect, and where it comes from."""

    value: str
    source: str


PER = {"machine_per_hour": "per hour of computing", "energy_per_kwh": "per kWh"}


def prices(found: Mapping[str, InEffect], currency: str) -> list[list[str]]:
    """Rows of `models show`."""
    if not found:
        return [["prices", "none: answers are unpriced"]]
    return [
        [key, f"{price.value} {currency} {PER.get(key, 'per million tokens')} ({price.source})"]
        for key, price in found.items()
    ]


def prices_as_json(found: Mapping[str, InEffect]) -> dict[str, dict[str, Any]]:
    return {key: {"value": Decimal(price.value), "source": price.source} for key, price in found.items()}


def estimated(found: wire.Estimated) -> Table:
    rows = [
        ["weights", size(found.weights_bytes)],
        ["KV memory", size(found.kv_bytes)],
        ["compute", size(found.compute_bytes)],
        ["total", size(found.total_bytes)],
        ["measured", "not loaded yet" if found.measured_bytes is None else size(found.measured_bytes)],
    ]
    return ["", ""], rows


def progress(done: int, total: int, seconds: float) -> str:
    """The progress of a download on one line."""
    return f"{share(done / total)} of {size(total)}, {span(seconds)}"


def engines(found: Iterable[wire.EngineStatus]) -> Table:
    rows = [
        [
            engine.name,
            engine.backend,
            str(engine.pid),
            engine.state,
            size(engine.memory_bytes),
            or_dash(_split(engine.gpu_share)),
            str(engine.context),
            f"{engine.busy}/{engine.slots}",
            or_dash(engine.tokens_per_second and f"{engine.tokens_per_second:.1f}"),
            or_dash(engine.until),
        ]
        for engine in found
    ]
    return ["NAME", "BACKEND", "PID", "STATE", "MEMORY", "CPU/GPU", "CONTEXT", "BUSY", "TOK/S", "UNTIL"], rows


def _split(gpu_share: float | None) -> str | None:
    """As `30%/70%`; never rounded up to "100%"."""
    if gpu_share is None:
        return None
    if gpu_share in (0, 1):
        return "100% GPU" if gpu_share else "100% CPU"
    percent = min(99, max(1, round(100 * gpu_share)))
    return f"{100 - percent}%/{percent}%"
