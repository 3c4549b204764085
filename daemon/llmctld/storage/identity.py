"""Whether a database's files are still those that were opened: SQLite goes on writing to a file that was removed or cut short.

It does not know what follows from it.
"""

import errno
import stat
from pathlib import Path
from typing import NamedTuple

LOST_LOG = "has lost its log"
HEADER = 100
"""Bytes of the header of SQLite's file format (sqlite.org/fileformat.html)."""


class DatabaseIdentity(NamedTuple):
    """Device and inode of the file and of its write-ahead log (None: there is none), and the size of the file in bytes."""

    file: tuple[int, int] | None
    log: tuple[int, int] | None
    size: int


def identity_of(path: Path) -> DatabaseIdentity:
    file, size = _inode(path)
    log, _ = _inode(path.with_name(path.name + "-wal"))
    return DatabaseIdentity(file, log, size)


def log_size(path: Path) -> int:
    """Bytes of the write-ahead log."""
    return _inode(path.with_name(path.name + "-wal"))[1]


def change(path: Path, before: DatabaseIdentity, now: DatabaseIdentity) -> str | None:
    """What has happened to the files since `before`; None if SQLite itself may have done it."""
    if now.file is None:
        return "was removed"
    if now.file != before.file:
        return "was replaced"
    if before.log is not None and now.log != before.log:
        return LOST_LOG
    if now.size < before.size and _is_cut_short(path):
        return "was truncated"
    return None


def unusable(path: Path) -> str | None:
    """Why no database can be opened there although something is in its place, in words; None if nothing speaks against it.

    SQLite opens an empty file as a new database without a word, and says of a folder only that it cannot open it.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return "is a link to itself" if error.errno == errno.ELOOP else None
    if not stat.S_ISREG(found.st_mode):
        return "is no file"
    if found.st_size == 0:
        return "is empty"
    return "is truncated" if not _has_log(path) and _is_cut_short(path) else None


def _has_log(path: Path) -> bool:
    """A log may hold what the file lacks: the process was killed while it copied one into the other."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except OSError:
        return False


def _inode(path: Path) -> tuple[tuple[int, int] | None, int]:
    try:
        found = path.stat()
    except OSError:
        return None, 0
    return (found.st_dev, found.st_ino), found.st_size


def _is_cut_short(path: Path) -> bool:
    """Whether the file is smaller than its header says. A VACUUM makes it smaller too, and writes a new header."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER)
            size = file.seek(0, 2)
    except OSError:
        return True
    page = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    return len(header) < HEADER or size < pages * (65536 if page == 1 else page)
