"""Describes how a process ended."""

import signal


def exit_name(status: int) -> str:
    """The name of the signal that ended the process, or its exit status."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal
        return f"signal {-status}"
