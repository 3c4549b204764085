"""Days, weeks and months in a time zone: when a budget begins anew.

A window begins at midnight there, whatever daylight saving time makes of it; weeks begin on Monday.
"""

import datetime
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from llmctl.errors import InvalidRequest

LOCALTIME = Path("/etc/localtime")
Date = datetime.date

_FIRST: dict[str, Callable[[Date], Date]] = {
    "daily": lambda day: day,
    "weekly": lambda day: day - datetime.timedelta(days=day.weekday()),
    "monthly": lambda day: day.replace(day=1),
}
_NEXT: dict[str, Callable[[Date], Date]] = {
    "daily": lambda first: first + datetime.timedelta(days=1),
    "weekly": lambda first: first + datetime.timedelta(days=7),
    "monthly": lambda first: (first + datetime.timedelta(days=32)).replace(day=1),
}
KINDS = tuple(_FIRST)


class Window(NamedTuple):
    """From `start` to before `end`, in seconds since 1970."""

    start: float
    end: float


_latest: dict[tuple[str, datetime.tzinfo], Window] = {}
"""The calendar is asked once per window, not once per request."""


def window(kind: str, at: float, zone: datetime.tzinfo) -> Window:
    """The window of that kind around a moment."""
    found = _latest.get((kind, zone))
    if found is None or not found.start <= at < found.end:
        found = _latest[kind, zone] = _around(kind, at, zone)
    return found


def _around(kind: str, at: float, zone: datetime.tzinfo) -> Window:
    first = _FIRST[kind](datetime.datetime.fromtimestamp(at, zone).date())
    return Window(_midnight(first, zone), _midnight(_NEXT[kind](first), zone))


def _midnight(day: Date, zone: datetime.tzinfo) -> float:
    """The moment in which the day begins. A midnight that is skipped begins the day when the clock is put forward; of one that
    comes twice it is the first."""
    return datetime.datetime.combine(day, datetime.time(), zone).timestamp()


@lru_cache(maxsize=64)
def zone_of(name: str | None) -> datetime.tzinfo:
    """The time zone of that name; None: that of the machine. Raises InvalidRequest."""
    if name is None:
        return _local(os.environ)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        hint = "Use a name of the tz database such as Europe/Berlin or UTC."
        raise InvalidRequest(f"there is no time zone {name!r}", hint) from error


def _local(environ: Mapping[str, str]) -> datetime.tzinfo:
    try:
        if name := environ.get("TZ", "").lstrip(":"):
            return ZoneInfo(name)
        with LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.timezone.utc
