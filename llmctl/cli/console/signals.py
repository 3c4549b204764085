"""Ctrl-C, SIGTERM and SIGHUP as an exception with an exit status; a second signal ends the process at once.

The interrupted command decides what is cancelled and what is still printed.
"""

import os
import signal
from types import FrameType


class Interrupt(BaseException):
    """A signal told the command to end; `status` is 130, 143 or 129."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


_seen = False


def install() -> None:
    """Installs the handlers. A signal that is already ignored (nohup, a background job) stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _seen
    if _seen:
        os._exit(128 + number)
    _seen = True
    raise Interrupt(128 + number)


def forget() -> None:
    """The interrupt has been handled and the command goes on: the next signal counts as the first."""
    global _seen
    _seen = False
