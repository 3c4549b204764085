"""A damaged file of the hub's state is set aside under another name, never deleted.

It does not know what the files hold; llmctl/files.py writes whole files.
"""

import os
import time
from pathlib import Path


def clear_way(path: Path) -> None:
    """Sets aside what is no file but stands where one belongs. Raises OSError."""
    if os.path.lexists(path) and not path.is_file():
        set_aside(path)


def set_aside(path: Path) -> Path | None:
    """Renames a damaged file or folder, a database with its log, so that a new one can be begun. The new name; None if there is
    no file. Then its log is removed too: a new database would read it.

    Raises OSError.
    """
    stamp, number = int(time.time()), 0
    while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{stamp + number}")):
        number += 1
    there = os.path.lexists(path)  # a link to itself too
    if there:
        path.rename(aside)
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if not log.exists():
            continue
        if there:
            log.rename(aside.with_name(aside.name + suffix))
        else:
            log.unlink()
    return aside if there else None
