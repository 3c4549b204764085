"""Settings with a unit: durations and sizes, and how they are read from text."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
CENTURY_S = 36500 * 86400
"""A longer duration is a mistake, and now plus some of them is no date."""
LONGEST_S = 3650 * 86400
"""Maximum of `keep_alive`: its end is still a valid date."""


class Duration(float):
    """Seconds, written `90s`, `15m`, `2h`, `7d` or as a bare number of seconds."""


class KeepAlive(float):
    """Seconds that an unused model stays loaded; written as a duration, 0 (not at all) or -1 (forever)."""


class Size(int):
    """Bytes, written `512M`, `4G` or as a bare number of bytes."""


def parse_duration(text: str | float) -> Duration:
    """Seconds. Raises ValueError for anything but a non-negative number with an optional unit, at most a century."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\s*", str(text))
    if not match:
        raise ValueError(f"{text!r} is not a duration such as 90s, 15m, 2h or 7d")
    seconds = float(match[1]) * _UNITS[match[2] or "s"]
    if seconds > CENTURY_S:
        raise ValueError(f"{str(text)[:40]!r} is longer than {CENTURY_S // 86400} days")
    return Duration(seconds)


def parse_keep_alive(text: str | float) -> KeepAlive:
    """Seconds; negative: forever. Raises ValueError."""
    if str(text).strip() in ("-1", "-1.0"):
        return KeepAlive(-1)
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a duration such as 5m, nor 0, nor -1 (forever)") from error
    if found > LONGEST_S:
        raise ValueError(f"{text!r} is longer than {LONGEST_S // 86400} days; -1 means forever")
    return KeepAlive(found)


def parse_size(text: str | int) -> Size:
    """Bytes. Raises ValueError for anything but a non-negative number with an optional unit."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([BKMGT]?)i?B?\s*", str(text).upper().replace("IB", "B"))
    if not match:
        raise ValueError(f"{text!r} is not a size such as 512M or 4G")
    size = float(match[1]) * _SIZES[match[2]]
    if size >= 2**63:
        raise ValueError(f"{str(text)[:40]!r} is more than any machine has")
    return Size(size)
