"""A damaged file of the hub's state is set aside under another name, never deleted.

It does not know what the files hold; llmctl/files.py writes whole files.
"""

import time
from pathlib import Path


def set_aside(path: Path) -> Path | None:
    """Renames a damaged file or folder, a database with its log, so that a new one can be begun. The new name; None if there is
    no file. Then its log is removed too: a new database would read it.

    Raises OSError.
    """
    stamp, number = int(time.time()), 0
    while (aside := path.with_name(f"{path.name}.damaged-{stamp + number}")).exists():
        number += 1
    there = path.exists()
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
