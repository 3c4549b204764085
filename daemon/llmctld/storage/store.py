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
from llmctld.storage.connection import (
    BUSY_MS,
    DamagedDatabase,
    Migration,
    Operation,
    T,
    is_damage,
    open_writer,
    storage_error,
)
from llmctld.storage.files import set_aside
from llmctld.storage.identity import LOST_LOG, change, identity_of, log_size
from llmctld.storage.loss import LossRule
from llmctld.storage.reader import Reader

CHECKPOINT_EVERY = 1000
"""Rows written between two checkpoints: a few megabytes of log."""
PAGE_BYTES = 4096
"""The least that a row adds to the log."""
IN_MEMORY = Path(":memory:")


class _Write(NamedTuple):
    operation: Operation[Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class Store:
    """A database file, or IN_MEMORY, where searches take their turn among the writes.

    `rule`: a file that is damaged, or that is removed, replaced or cut short while it is open, is set aside, and a new one is
    begun for the operation that noticed it, or at the next `look`. Without a rule, damage fails the operation.

    Raises Unreachable when a newer version wrote the file, DamagedDatabase, and Storage when it cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Migration],
        durable: bool = False,
        rule: LossRule | None = None,
    ) -> None:
        self.path = path
        self._migrations, self._durable, self._rule = migrations, durable, rule
        self._failure: Exception | None = None
        """Why there is no file; every operation fails with it until a new one is begun."""
        self._ordered: str | None = None
        """What happened to the file, in the words of the owner, who wants a new one."""
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        """Guards the connection that writes."""
        self._seen = threading.Lock()
        """Guards the identity of the file, which is looked at on the event loop too."""
        self._begun = self._settled = 0
        """Writes that were submitted, and those of them whose callers know the outcome."""
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        """Searches that wait until so many writes are settled."""
        self._unchecked = 0
        self._reader: Reader | None = None
        self._closed = False
        self._open_first()
        self._thread = threading.Thread(target=self._run, name=f"store-{path.stem}", daemon=True)
        self._thread.start()

    def _open_first(self) -> None:
        """Opens the file; with a rule, a damaged one is set aside. Raises Storage and Unreachable."""
        rule, failure = self._rule, Storage("")
        try:
            self._open()
            return
        except sqlite3.Error as error:
            failure = storage_error(self.path, error)
            if rule is None or not (rule.begins_anew and isinstance(failure, DamagedDatabase)):
                raise failure from error
        except Unreachable as error:
            if rule is None or not rule.newer:
                raise
            failure = Storage(error.message)
        try:
            aside = set_aside(self.path)
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise storage_error(self.path, error) from error
        rule.say(f"was damaged ({failure.message})", rule.at_start, aside)

    def _open(self) -> None:
        """Raises sqlite3.Error, and Unreachable."""
        self._connection = open_writer(self.path, self._migrations, self._durable)
        try:
            if self.path != IN_MEMORY:
                self._reader = Reader(self.path, f"search-{self.path.stem}")
        except sqlite3.Error:
            self._connection.close()
            raise
        with self._seen:
            self._identity = identity_of(self.path)
        self._unchecked = log_size(self.path) // PAGE_BYTES  # hubs that are killed early never come to a checkpoint

    def lost(self) -> str | None:
        """What happened to the file, in words, if it is not the one that was opened; None if it is."""
        if self.path == IN_MEMORY:
            return None
        before = self._identity
        now = identity_of(self.path)
        happened = change(self.path, before, now)
        with self._seen:
            if happened is None and self._identity is before:  # else the thread has begun anew meanwhile
                self._identity = now
        return happened

    def look(self) -> None:
        """Has the thread begin anew if the file is lost. Costs two stats, and waits for nothing."""
        if self._rule is None or self._closed or self._begun > self._settled:
            return  # what is queued looks by itself
        if self._failure is not None or self.lost() is not None:
            self.submit(lambda connection: None)

    async def begin_anew(self, happened: str) -> None:
        """Sets aside what lies at the path, and opens a new file. For an owner who found the file damaged, or whose rule does not
        begin anew by itself. Raises Storage.
        """
        self._ordered = happened
        await self.submit(lambda connection: None)

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
        if self._rule is not None and self.lost():
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
        if self._rule is not None and (self._failure is not None or self.lost() is not None):
            await self.submit(lambda connection: None)  # begins anew, or says why that is impossible
        await self._committed()
        try:
            return await self._reader.run(operation)
        except DamagedDatabase as error:
            if self._rule is None or not self._rule.begins_anew:
                raise
            await self.begin_anew(f"is damaged ({error.message})")
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
                if batch:
                    self._look(batch[0].loop)
                if batch and not self._commit(batch):
                    for write in batch:  # alone, so that one that cannot succeed does not take the others with it
                        self._commit([write], last=True)
                self._checkpoint()

    def _next(self) -> list[_Write | None]:
        writes = [self._writes.get()]
        while not self._writes.empty():
            writes.append(self._writes.get())
        return writes

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Whether the file is still there; if not, what the rule says follows."""
        if self._rule is None:
            return
        ordered, self._ordered = self._ordered, None
        if ordered is not None:
            self._begin_anew(ordered, loop)
        elif self._failure is None:
            if (happened := self.lost()) is not None:
                self._lose(happened, loop)
        elif self._rule.begins_anew:
            self._begin_anew("was lost", loop)

    def _lose(self, happened: str, loop: asyncio.AbstractEventLoop) -> None:
        """The file is lost: a new one is begun, or every operation refused, as the rule says."""
        assert self._rule is not None
        if self._rule.begins_anew or happened == LOST_LOG:
            self._begin_anew(happened, loop)
            return
        self._close_connections()
        self._failure = sqlite3.OperationalError(f"it {happened}")
        self._rule.say(happened, self._rule.under_way)

    def _begin_anew(self, happened: str, loop: asyncio.AbstractEventLoop) -> None:
        """Sets aside what lies at the path, and opens a new file there. After a failure there are no connections to close, and
        what lay at the path was set aside."""
        assert self._rule is not None
        rule, aside, failed, self._failure = self._rule, None, self._failure, None
        complete = happened == LOST_LOG  # the pages of the log are still in reach, and closing moves them into the file
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not complete and (failed is None or not rule.begins_anew):
                aside = set_aside(self.path)
            if failed is None:
                self._close_connections()  # what was committed to the old file is completed there
            self._open()
        except (OSError, sqlite3.Error, Unreachable) as error:
            self._failure = error
            if failed is None:
                rule.say(happened, f"no new one can be created: {error}")
            return
        if not complete:
            rule.say(happened, rule.under_way if rule.begins_anew else rule.at_start, aside)
            with suppress(RuntimeError):  # the loop is closed: memory has nothing to add
                loop.call_soon_threadsafe(rule.refill)

    def _commit(self, writes: list[_Write], last: bool = False) -> bool:
        """One transaction around `writes`. False: it was rolled back and nobody was told (unless `last`)."""
        operations = [write.operation for write in writes]
        outcome = self._transact(operations)
        if isinstance(outcome, Exception) and is_damage(outcome) and self._rule is not None and self._failure is None:
            self._lose(f"is damaged ({outcome})", writes[0].loop)
            outcome = self._transact(operations)
        if isinstance(outcome, Exception):
            if last:
                failure = self._refusal(outcome)
                self._resolve(writes, lambda index: _set(writes[index].future, failure=failure))
            return False
        self._resolve(writes, lambda index: _set(writes[index].future, result=outcome[index]))
        return True

    def _refusal(self, error: Exception) -> Storage:
        if error is self._failure and self._rule is not None and self._rule.hint is not None:
            return Storage(f"{self.path} cannot be written or read: {error}", self._rule.hint)
        return storage_error(self.path, error)

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
