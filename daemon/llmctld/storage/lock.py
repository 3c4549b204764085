"""The lock by which a home has one hub at a time; a new one waits for a predecessor that is ending."""

import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from llmctl.errors import Unreachable
from llmctl.files import open_own
from llmctl.paths import Paths

LOCK_WAIT_S = 45
"""For a predecessor that drains; longer than its own limit."""


@contextlib.contextmanager
def lock(paths: Paths) -> Iterator[None]:
    """Held by the one hub of this user and home, from before its socket is bound until everything is closed.

    Raises Unreachable when another hub answers, or does not end within LOCK_WAIT_S.
    """
    descriptor = open_own(paths.lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if _answers(paths.socket):
            raise Unreachable(
                f"a hub is already running on {paths.socket}", "`llmctl daemon status` shows it."
            ) from None
        _wait_for(descriptor, paths)
    try:
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, paths: Paths) -> None:
    """Until the predecessor, which no longer takes requests, has let go."""

    def give_up(number: int, frame: object) -> None:
        raise Unreachable(f"another hub holds the lock {paths.lock} and does not end", "`llmctl daemon stop` ends it.")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LOCK_WAIT_S)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
