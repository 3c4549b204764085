"""Writing a file whole: readers and a crash find the old content or the new one, never a part. The client and the hub share it.

It does not know what the files hold.
"""

import errno
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

MARK = ".new-"
LEFT_OVER_S = 3600.0
"""A temporary file this old belongs to a process that was killed."""


def write_whole(path: Path, *parts: bytes | bytearray | memoryview, sync: bool = False) -> None:
    """Replaces the file by one that holds `parts`, readable by the user only. A link stays, and the file it leads to is replaced.

    `sync`: a power cut cannot undo it once the call has returned. Two threads may write the same file. Raises OSError, and then
    the old file is as it was.
    """
    path = Path(os.path.realpath(path))
    _remove_left_overs(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + MARK)
    try:
        with open(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if sync:
        _sync_folder(path.parent)


def open_own(path: Path, flags: int) -> int:
    """Opens a lock or a log, which hold nothing to lose, in a folder of llmctl's own, and creates it if needed.

    A mode that forbids it is corrected; a folder or a link to itself in its place is renamed. Raises OSError.
    """
    try:
        return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        os.chmod(path, 0o600)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ELOOP):
            raise
        path.rename(path.with_name(f"{path.name}.damaged-{int(time.time())}"))
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _sync_folder(folder: Path) -> None:
    """The new name lies in the folder, which a file's fsync does not write."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some file systems cannot, and write it in order
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_left_overs(path: Path) -> None:
    """Temporary files of this one that killed processes left."""
    for name in os.listdir(path.parent):
        if name.startswith(path.name + MARK):
            left = path.parent / name
            with suppress(OSError):
                if abs(time.time() - left.stat().st_mtime) > LEFT_OVER_S:  # the clock may have been set back
                    left.unlink()
