"""Whether a hub is there: who listens at its socket, and whether its lock is held. It sends nothing."""

import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple


class Peer(NamedTuple):
    """The process at the other end of a socket. `pid` is 0 where the system does not tell it."""

    pid: int
    uid: int


def peer(path: Path) -> Peer | None:
    """The process that listens at a socket file, or None."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
            if not hasattr(socket, "SO_PEERCRED"):
                return Peer(0, os.stat(path).st_uid)
        except OSError:
            return None
        pid, uid, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return Peer(int(pid), int(uid))


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
