"""Files of the hub's state: one that is written as a whole or not at all, and a damaged one that is set aside.

It does not know what the files hold.
"""

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, *parts: bytes | bytearray | memoryview, sync: bool = False) -> None:
    """Replaces the file by one that holds `parts`, readable by the user only; a crash leaves the old one or the new one.

    `sync`: that holds for a power cut too. Two threads may write the same file. Raises OSError.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.new-")
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


def set_aside(path: Path) -> Path:
    """Renames a damaged file or folder, a database with its log, so that a new one can be begun. The new name.

    Raises OSError.
    """
    stamp, number = int(time.time()), 0
    while (aside := path.with_name(f"{path.name}.damaged-{stamp + number}")).exists():
        number += 1
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if log.exists():
            log.rename(aside.with_name(aside.name + suffix))
    return aside
