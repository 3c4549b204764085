"""Whether a hub is there: who listens at its socket, whether that is this user, and whether its lock is held.

It sends nothing.
"""

import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from llmctl.errors import Unreachable

SOL_LOCAL, LOCAL_PEERCRED, LOCAL_PEERPID = 0, 1, 2
"""Of macOS and the BSDs (unix(4)); Python names only some of them."""


class Peer(NamedTuple):
    """The process at the other end of a socket. `pid` is 0 where the system does not tell it."""

    pid: int
    uid: int


def peer(path: Path) -> Peer | None:
    """The process that listens at a socket file, or None."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
            return _credentials(probe)
        except OSError:
            return None


def peer_of(descriptor: int) -> Peer | None:
    """The process at the other end of a connected socket, or None if it is closed."""
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)
    except OSError:
        return None
    try:
        return _credentials(connection)
    except OSError:
        return None
    finally:
        connection.detach()  # the descriptor belongs to the caller


def _credentials(connection: socket.socket) -> Peer:
    """What the system says of the process that called listen(2). Raises OSError if it says nothing."""
    if hasattr(socket, "SO_PEERCRED"):
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return Peer(pid, uid)
    _, uid = struct.unpack_from("2I", connection.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, 128))  # struct xucred
    try:
        return Peer(connection.getsockopt(SOL_LOCAL, LOCAL_PEERPID), uid)
    except OSError:
        return Peer(0, uid)


def must_be_own(found: Peer, path: Path) -> None:
    """Raises Unreachable if the process at the other end belongs to another user."""
    if found.uid != os.getuid():
        raise Unreachable(
            f"the process that listens at {path} (pid {found.pid}) belongs to user {found.uid}, and this is user "
            f"{os.getuid()}; nothing was sent to it",
            "Set LLMCTL_HOME to a folder of your own.",
        )


def listener(path: Path) -> int | None:
    """The pid of the process that listens at a socket file (0: the system does not tell it), or None."""
    found = peer(path)
    return None if found is None else found.pid


def lock_is_held(path: Path) -> bool:
    """Whether a hub holds its lock: one that stops has no socket file any more, and lets go of the lock as the last thing."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
