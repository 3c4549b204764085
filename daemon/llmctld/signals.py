"""How a process ended, in words."""

import signal


def named(status: int) -> str:
    """The name of the signal that ended it, else its exit status."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # one of those for real time
        return f"signal {-status}"
