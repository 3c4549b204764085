"""How a process ended, in words."""

import signal


def named(status: int) -> str:
    """The name of the signal that ended it, else its exit status."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
