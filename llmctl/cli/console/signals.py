"""Ctrl-C, SIGTERM and SIGHUP as one exception with its exit status; a second one ends the process at once.

What is cancelled, and what is still printed, is for the command that was interrupted to decide.
"""

import os
import signal
from types import FrameType


class Interrupt(BaseException):
    """The command was told to end; `status` is 130, 143 or 129."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


_seen = False


def install() -> None:
    """A signal that was ignored when the command began (nohup, a job in the background) stays ignored."""
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
    """The interruption was dealt with, and the command goes on: `chat`."""
    global _seen
    _seen = False
