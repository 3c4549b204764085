"""SQLite behind one thread: the statements of a file run there, in order, and what waits together is committed together.

It knows transactions, migrations and what a full disk looks like; it does not know what its callers store.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from llmctl import __version__
from llmctl.errors import Storage, Unreachable

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]
Migration = Callable[[sqlite3.Connection], None]


class DamagedDatabase(Storage):
    """The file is no database, or is corrupt: it can only be set aside."""


BUSY_MS = 5000
CHECKPOINT_EVERY = 1000
"""Rows written between two checkpoints: a few megabytes of log."""


def mark_of(path: Path) -> tuple[int, int] | None:
    """What tells the file at `path` from another that takes its place; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Job(NamedTuple):
    operation: Operation[Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class Store:
    """One database file. WAL with synchronous=NORMAL: SIGKILL loses nothing committed (sqlite.org/wal.html).

    Raises Unreachable when the file was written by a newer version, Storage when it cannot be opened or is damaged.
    """

    def __init__(self, path: Path, migrations: Sequence[Migration]) -> None:
        self.path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        """Whose holder uses the connection."""
        self._pending = self._written = 0
        try:
            self._connection = _open(path, migrations)
        except sqlite3.Error as error:
            raise _storage(path, error) from error
        self._mark, self._closed = mark_of(path), False
        self._thread = threading.Thread(target=self._run, name=f"store-{path.stem}", daemon=True)
        self._thread.start()

    def lost(self) -> bool:
        """Whether the file was removed or replaced: SQLite goes on writing to one that nobody will find."""
        return mark_of(self.path) != self._mark

    def submit(self, operation: Operation[T]) -> "asyncio.Future[T]":
        """Queues `operation`; the future is done once its transaction is committed, or holds Storage."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._closed:
            _set(future, failure=Storage(f"{self.path} is closed", "Ask again."))
            return future
        self._pending += 1
        self._jobs.put(_Job(operation, loop, future))
        return future

    def write(self, sql: str, values: Sequence[Any] = ()) -> "asyncio.Future[int]":
        """One statement; the number of rows it changed."""
        return self.submit(lambda connection: connection.execute(sql, values).rowcount)

    def write_now(self, sql: str, values: Sequence[Any] = ()) -> "asyncio.Future[int]":
        """As `write`, but committed here and now when nothing else waits or runs: 20 us instead of two changes of thread.

        For a small row whose writer waits for nothing else. What could take long, a checkpoint, is the thread's.
        """
        if self._closed or self._pending or not self._turn.acquire(blocking=False):
            return self.write(sql, values)
        try:
            self._connection.execute("PRAGMA busy_timeout = 0")  # another program's lock is for the thread to wait for
            outcome = self._transact([lambda connection: connection.execute(sql, values).rowcount])
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        finally:
            self._turn.release()
        if isinstance(outcome, Exception):
            return self.write(sql, values)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.set_result(outcome[0])
        if self._written >= CHECKPOINT_EVERY:
            self.submit(lambda connection: None)  # wakes the thread, which then checkpoints
        return future

    def read(self, sql: str, values: Sequence[Any] = ()) -> "asyncio.Future[list[tuple[Any, ...]]]":
        """All rows; sees everything that was submitted before."""
        return self.submit(lambda connection: connection.execute(sql, values).fetchall())

    def close(self) -> None:
        """Finishes what is queued, then closes the file."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        open_ = True
        while open_:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            open_ = None not in jobs
            batch = [job for job in jobs if job is not None]
            with self._turn:
                if batch and not self._commit(batch):
                    for job in batch:  # alone, so that one that cannot succeed does not take the others with it
                        self._commit([job], last=True)
                self._checkpoint()

    def _commit(self, jobs: list[_Job], last: bool = False) -> bool:
        """One transaction around `jobs`. False: it was rolled back and nobody was told (unless `last`)."""
        outcome = self._transact([job.operation for job in jobs])
        if isinstance(outcome, Exception):
            if last:
                failure = _storage(self.path, outcome)
                self._resolve(jobs, lambda index: _set(jobs[index].future, failure=failure))
            return False
        self._resolve(jobs, lambda index: _set(jobs[index].future, result=outcome[index]))
        return True

    def _transact(self, operations: Sequence[Operation[Any]]) -> list[Any] | Exception:
        """What the operations return, committed; or why everything was rolled back."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [operation(self._connection) for operation in operations]
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - a value that SQLite cannot take must not end the thread for everybody
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return error
        self._written += len(operations)
        return results

    def _checkpoint(self) -> None:
        """Moves the log into the file now and then; SQLite would do it inside somebody's commit."""
        if self._written >= CHECKPOINT_EVERY:
            self._written = 0
            with suppress(sqlite3.Error):  # a full disk: the commits tell
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _resolve(self, jobs: list[_Job], settle: Callable[[int], None]) -> None:
        """Settles the futures on their loop: one wake-up for the whole batch."""

        def settle_all() -> None:
            self._pending -= len(jobs)
            for index in range(len(jobs)):
                settle(index)

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            jobs[0].loop.call_soon_threadsafe(settle_all)


def _open(path: Path, migrations: Sequence[Migration]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        _migrate(connection, path, migrations)
    except BaseException:
        connection.close()  # with what a migration had begun
        raise
    return connection


def _set(future: "asyncio.Future[Any]", result: Any = None, failure: Storage | None = None) -> None:
    if future.cancelled():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
        future.exception()  # seen: a write that nobody awaits must not print a warning at its collection


def _storage(path: Path, error: Exception) -> Storage:
    message = f"{path} cannot be written or read: {error}"
    # sqlite3 raises DatabaseError itself for SQLITE_CORRUPT and SQLITE_NOTADB, a subclass for all else that files cause;
    # the error's number (sqlite_errorcode) is known from Python 3.11 on only
    if type(error) is not sqlite3.DatabaseError:
        return Storage(message)
    hint = f"Move {path} away, and a new one is begun; `sqlite3 {path} .recover` may save what it holds."
    return DamagedDatabase(message, hint)


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """Applies what is missing, each in its own transaction; `user_version` counts what was applied."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        found = (
            connection.execute("SELECT version FROM written_by").fetchone()[0] if _has_meta(connection) else "unknown"
        )
        raise Unreachable(
            f"{path} was written by llmctl {found} (schema {version}); this is llmctl {__version__}, which knows schema "
            f"{len(migrations)}, and state is never migrated down",
            "Install that version again, or set LLMCTL_HOME to another folder.",
        )
    for number, migration in enumerate(migrations[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        migration(connection)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    connection.execute("CREATE TABLE IF NOT EXISTS written_by (version TEXT NOT NULL)")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM written_by")
    connection.execute("INSERT INTO written_by VALUES (?)", (__version__,))
    connection.execute("COMMIT")


def _has_meta(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'written_by'").fetchone())
