"""The hub's state, its log lines and the doctor's findings as text."""

from collections.abc import Mapping
from typing import Any

from llmctl import wire
from llmctl.errors import counted
from llmctl.view.units import span


def status(found: wire.HubStatus | None) -> str:
    """One line."""
    if found is None:
        return "stopped"
    models = ", ".join(found.models) or "none"
    return (
        f"running: pid {found.pid}, version {found.version}, protocol {found.protocol}, up {span(found.uptime_s)}, "
        f"{counted(found.requests_in_flight, 'request')} in flight, models loaded: {models}, socket {found.socket}"
    )


def log_line(entry: Mapping[str, Any]) -> str:
    """A structured log line as `TIME LEVEL EVENT key=value ...`."""
    rest = dict(entry)
    time, level = rest.pop("timestamp", rest.pop("time", "")), rest.pop("level", "")
    event = rest.pop("event", "")
    pairs = (f"{key}={value}" for key, value in rest.items())
    return " ".join(str(part) for part in (time, level.upper(), event, *pairs) if part != "")


MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def finding(check: str, state: str, detail: str, hint: str) -> str:
    """A finding of the doctor; its hint is on a line of its own."""
    text = f"{MARKS.get(state, state)}  {check}: {detail}"
    return text + (f"\n      {hint}" if hint and state != "ok" else "")
