"""Sizes, durations and shares for people; JSON uses plain numbers."""


def size(count: int) -> str:
    """Bytes: 512 B, 1.5 MiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def span(seconds: float) -> str:
    """A duration: 0.5 s, 3 min 5 s, 2 h 5 min, 3 d 1 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, name, below, short in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {short}"
    raise AssertionError("unreachable: 60 s and more are handled above")


def share(ratio: float) -> str:
    return f"{100 * ratio:.1f} %"


def or_dash(value: object) -> str:
    return "-" if value is None else str(value)
