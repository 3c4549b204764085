"""One SQLite database: a thread that writes, in order, what waits together in one transaction; and searches beside it.

It does not know what its callers store.
"""

import asyncio
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from llmctl.errors import Storage, Unreachable
from llmctld.storage.connection import BUSY_MS, Migration, Operation, T, is_damage, open_writer, storage_error
from llmctld.storage.files import set_aside
from llmctld.storage.identity import LOST_LOG, change, identity_of
from llmctld.storage.reader import Reader

CHECK_S = 1.0
"""How often a store that replaces a lost file looks whether the file is still there."""
CHECKPOINT_EVERY = 1000
"""Rows written between two checkpoints: a few megabytes of log."""
IN_MEMORY = Path(":memory:")


class _Write(NamedTuple):
    operation: Operation[Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class Store:
    """A database file, or IN_MEMORY, where searches take their turn among the writes.

    `replaced`: a file that is removed, replaced, cut short or damaged while it is open is set aside, and a new one is begun for
    the write that noticed it, or within CHECK_S. Then `replaced` is called on a thread with what happened, in words. Without it
    the owner asks `lost`, and damage fails the operation.

    Raises Unreachable when a newer version wrote the file, DamagedDatabase, and Storage when it cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Migration],
        durable: bool = False,
        replaced: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self._migrations, self._durable, self._replaced = migrations, durable, replaced
        self._failure: Exception | None = None
        """Why no new file could be begun; every operation fails with it until one can."""
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        """Guards the connection that writes."""
        self._begun = self._settled = 0
        """Writes that were submitted, and those of them whose callers know the outcome."""
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        """Searches that wait until so many writes are settled."""
        self._unchecked = 0
        self._reader: Reader | None = None
        self._closed = False
        try:
            self._open()
        except sqlite3.Error as error:
            raise storage_error(path, error) from error
        self._thread = threading.Thread(target=self._run, name=f"store-{path.stem}", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        """Raises sqlite3.Error, and Unreachable."""
        self._connection = open_writer(self.path, self._migrations, self._durable)
        try:
            if self.path != IN_MEMORY:
                self._reader = Reader(self.path, f"search-{self.path.stem}")
        except sqlite3.Error:
            self._connection.close()
            raise
        self._identity = identity_of(self.path)

    def lost(self) -> str | None:
        """What happened to the file, in words, if it is not the one that was opened; None if it is."""
        if self.path == IN_MEMORY:
            return None
        now = identity_of(self.path)
        happened = change(self.path, self._identity, now)
        if happened is None:
            self._identity = now
        return happened

    # ---- writing ----------------------------------------------------------------------------------------------------

    def submit(self, operation: Operation[T]) -> "asyncio.Future[T]":
        """Queues an operation that writes. The future is done once its transaction is committed, or holds Storage.

        The operation may run twice. What waits together runs as one transaction; when one operation of it fails, all of
        them are rolled back, and each runs again in a transaction of its own. So an operation changes the database and
        nothing else: what follows from it (a counter, a message, the next write) follows from its future.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._closed:
            _set(future, failure=Storage(f"{self.path} is closed", "Try again."))
            return future
        self._begun += 1
        self._writes.put(_Write(operation, loop, future))
        return future

    def write(self, sql: str, values: Sequence[Any] = ()) -> "asyncio.Future[int]":
        """One statement; the number of rows it changed."""
        return self.submit(lambda connection: connection.execute(sql, values).rowcount)

    def write_now(self, sql: str, values: Sequence[Any] = ()) -> "asyncio.Future[int]":
        """As `write`, but committed on return when no other write waits or runs: 20 us instead of two changes of thread.

        For a small row whose caller waits for nothing else. A checkpoint, which may take long, is left to the thread.
        """
        if self._closed or self._failure is not None or self._begun > self._settled:
            return self.write(sql, values)
        if self._replaced is not None and self.lost():
            return self.write(sql, values)
        if not self._turn.acquire(blocking=False):
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
        if self._unchecked >= CHECKPOINT_EVERY:
            self.submit(lambda connection: None)  # wakes the thread, which then checkpoints
        return future

    async def compact(self) -> None:
        """Gives the disk space of deleted rows back: SQLite keeps it in the file, and what was logged in the log.

        For a file that is nearly empty: everything that it still holds is written again, and writes wait meanwhile.
        """
        await asyncio.to_thread(self._compact)

    def _compact(self) -> None:
        with self._turn, suppress(sqlite3.Error):  # a full disk, or a search that still reads: the space stays taken
            self._connection.execute("VACUUM")
        with self._turn, suppress(sqlite3.Error):
            self._connection.execute("PRAGMA busy_timeout = 0")  # nobody waits for a long search
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    # ---- reading ----------------------------------------------------------------------------------------------------

    def read(self, sql: str, values: Sequence[Any] = ()) -> "asyncio.Future[list[tuple[Any, ...]]]":
        """All rows of a short read: by a key, or a few by an index. It takes its turn among the writes, and sees those before.

        The future may hold Storage.
        """
        return self.submit(lambda connection: connection.execute(sql, values).fetchall())

    async def search(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a read that may take long. It sees every write that was submitted before; no later write waits for it.

        Raises Storage.
        """
        return await self.query(lambda connection: connection.execute(sql, values).fetchall())

    async def query(self, operation: Operation[T]) -> T:
        """As `search`: what `operation` makes of one state of the database, on a thread. It ends when its caller is cancelled."""
        if self._reader is None:
            return await self.submit(operation)
        await self._committed()
        return await self._reader.run(operation)

    async def _committed(self) -> None:
        """Returns once every write that was submitted is committed, or has failed."""
        if self._begun > self._settled:
            settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((self._begun, settled))
            await settled

    def close(self) -> None:
        """Ends the searches, finishes the writes that are queued, then closes the file."""
        self._closed = True
        if self._reader is not None:
            self._reader.close()
        self._writes.put(None)
        self._thread.join()
        self._close_connections()

    def _close_connections(self) -> None:
        if self._reader is not None:
            self._reader.close()  # before the writer's: the last connection that closes removes the log
        self._connection.close()

    # ---- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        open_ = True
        while open_:
            writes = self._next()
            open_ = None not in writes
            batch = [write for write in writes if write is not None]
            with self._turn:
                self._look()
                if batch and not self._commit(batch):
                    for write in batch:  # alone, so that one that cannot succeed does not take the others with it
                        self._commit([write], last=True)
                self._checkpoint()

    def _next(self) -> list[_Write | None]:
        """The writes that wait; none after CHECK_S if the file must be looked at."""
        try:
            writes = [self._writes.get(timeout=None if self._replaced is None else CHECK_S)]
        except queue.Empty:
            return []
        while not self._writes.empty():
            writes.append(self._writes.get())
        return writes

    def _look(self) -> None:
        """Whether the file is still there; if not, a new one is begun."""
        if self._replaced is None:
            return
        if self._failure is not None:
            self._begin_anew("was lost", again=True)
        elif (happened := self.lost()) is not None:
            self._begin_anew(happened)

    def _begin_anew(self, happened: str, again: bool = False) -> None:
        """Sets aside what lies at the path, and opens a new file there. `again`: the last attempt failed."""
        assert self._replaced is not None
        aside, self._failure = None, None
        complete = happened == LOST_LOG  # the pages of the log are still in reach, and closing moves them into the file
        try:
            if not again and not complete:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                aside = set_aside(self.path)
            if not again:
                self._close_connections()  # what was committed to the old file is completed there
            self._open()
        except (OSError, sqlite3.Error, Unreachable) as error:
            self._failure = error
            if not again:
                self._replaced(f"{happened}, and no new one can be created: {error}")
            return
        if not complete:
            self._replaced(f"{happened}; a new one was created" + (f", the old one is now {aside}" if aside else ""))

    def _commit(self, writes: list[_Write], last: bool = False) -> bool:
        """One transaction around `writes`. False: it was rolled back and nobody was told (unless `last`)."""
        operations = [write.operation for write in writes]
        outcome = self._transact(operations)
        if isinstance(outcome, Exception) and is_damage(outcome) and self._replaced is not None:
            self._begin_anew(f"is damaged ({outcome})")
            outcome = self._transact(operations)
        if isinstance(outcome, Exception):
            if last:
                failure = storage_error(self.path, outcome)
                self._resolve(writes, lambda index: _set(writes[index].future, failure=failure))
            return False
        self._resolve(writes, lambda index: _set(writes[index].future, result=outcome[index]))
        return True

    def _transact(self, operations: Sequence[Operation[Any]]) -> list[Any] | Exception:
        """What the operations return, committed; or why everything was rolled back."""
        if self._failure is not None:
            return self._failure
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [operation(self._connection) for operation in operations]
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - a value that SQLite cannot take must not end the thread for everybody
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return error
        self._unchecked += len(operations)
        return results

    def _checkpoint(self) -> None:
        """Moves the log into the file now and then; SQLite would do it inside somebody's commit."""
        if self._unchecked >= CHECKPOINT_EVERY:
            self._unchecked = 0
            with suppress(sqlite3.Error):  # a full disk: the commits tell
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _resolve(self, writes: list[_Write], settle: Callable[[int], None]) -> None:
        """Settles the futures on their loop: one wake-up for the whole batch."""

        def settle_all() -> None:
            self._settled += len(writes)
            for index in range(len(writes)):
                settle(index)
            while self._waiting and self._waiting[0][0] <= self._settled:
                _, waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(None)

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            writes[0].loop.call_soon_threadsafe(settle_all)


def _set(future: "asyncio.Future[Any]", result: Any = None, failure: Storage | None = None) -> None:
    if future.cancelled():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
        future.exception()  # seen: a write that nobody awaits must not print a warning at its collection
