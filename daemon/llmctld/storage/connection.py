"""A SQLite connection: how it is opened, brought to the newest schema, and how its errors are told.

It knows no threads; store.py and reader.py do.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from llmctl import __version__
from llmctl.errors import Storage, Unreachable
from llmctld.storage.identity import unusable

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]
Migration = Callable[[sqlite3.Connection], None]

BUSY_MS = 5000
"""How long a statement waits for another program's lock."""


class DamagedDatabase(Storage):
    """The file is no database, or not a sound one."""


def is_damage(error: Exception) -> bool:
    """Whether SQLite says SQLITE_CORRUPT or SQLITE_NOTADB.

    The sqlite3 module raises exactly DatabaseError for them, and a subclass for everything else that happens to a file
    (no room, no permission, locked); the code itself stands in the exception from Python 3.11 on only.
    """
    return type(error) is sqlite3.DatabaseError


def storage_error(path: Path, error: Exception) -> Storage:
    message = f"{path} cannot be written or read: {error}"
    if is_damage(error):
        hint = f"Move {path} away; the hub creates a new one. `sqlite3 {path} .recover` may save its contents."
        return DamagedDatabase(message, hint)
    return Storage(message)


def open_writer(path: Path, migrations: Sequence[Migration], durable: bool = False) -> sqlite3.Connection:
    """WAL with synchronous=NORMAL: SIGKILL loses nothing that was committed, and a power cut may undo what was committed since
    the last checkpoint (sqlite.org/wal.html). `durable`: synchronous=FULL, which syncs the log at each commit.

    Raises sqlite3.Error, and Unreachable when a newer version wrote the file.
    """
    if words := unusable(path):
        raise sqlite3.DatabaseError(f"it {words}")
    connection = _connect(str(path))
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        _migrate(connection, path, migrations)
    except BaseException:
        connection.close()  # with what a migration had begun
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, to a database that `open_writer` has opened. Raises sqlite3.Error.

    It looks into the file at once: the file and its log may be removed while they are open, and both connections must go
    on with the same ones.
    """
    connection = _connect(f"{path.absolute().as_uri()}?mode=ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(name: str) -> sqlite3.Connection:
    return sqlite3.connect(
        name, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000, uri=name.startswith("file:")
    )


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """Applies what is missing, each in its own transaction; `user_version` counts what was applied."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise Unreachable(
            f"{path} was written by llmctl {_written_by(connection)} (schema {version}); this is llmctl {__version__}, "
            f"which knows schema {len(migrations)}, and an older version cannot use newer state",
            "Install that version again, or set LLMCTL_HOME to another folder.",
        )
    for number, migration in enumerate(migrations[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        migration(connection)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    if _written_by(connection) != __version__:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE IF NOT EXISTS written_by (version TEXT NOT NULL)")
        connection.execute("DELETE FROM written_by")
        connection.execute("INSERT INTO written_by VALUES (?)", (__version__,))
        connection.execute("COMMIT")


def _written_by(connection: sqlite3.Connection) -> str:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'written_by'").fetchone():
        return "unknown"
    (version,) = connection.execute("SELECT version FROM written_by").fetchone() or ("unknown",)
    return str(version)
