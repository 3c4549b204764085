"""A read-only connection on a thread of its own: reads run there one after another, beside the writer.

A read whose caller has left is ended. What must be committed before a read is store.py's business.
"""

import asyncio
import queue
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic

from llmctl.errors import Storage
from llmctld.storage.connection import Operation, T, open_reader, storage_error

STEPS = 50_000
"""Instructions of SQLite between two looks whether somebody still waits: a few milliseconds."""


class _Read(Generic[T]):
    """An operation and the future of its caller."""

    def __init__(self, operation: Operation[T]) -> None:
        self.operation = operation
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()

    def settle(self, result: T | None, failure: Storage | None) -> None:
        """On the thread. The loop may be closed: then nobody waits."""

        def tell() -> None:
            if self.future.done():
                return
            if failure is None:
                self.future.set_result(result)  # type: ignore[arg-type]
            else:
                self.future.set_exception(failure)

        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(tell)


class Reader:
    """Opens its connection at once and starts its thread with the first read. Raises sqlite3.Error."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._connection = open_reader(path)
        self._connection.set_progress_handler(self._is_over, STEPS)
        self._reads: queue.SimpleQueue[_Read[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._current: _Read[Any] | None = None
        self._closed = False

    async def run(self, operation: Operation[T]) -> T:
        """What `operation` returns, which sees one state of the database. Raises Storage."""
        if self._closed:
            raise Storage(f"{self._path} is closed", "Try again.")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        read = _Read(operation)
        self._reads.put(read)
        return await read.future

    def close(self) -> None:
        """Ends the read that runs and refuses those that wait."""
        self._closed = True
        self._reads.put(None)
        if self._thread is not None:
            self._thread.join()
        self._connection.close()

    def _is_over(self) -> bool:
        """Asked by SQLite while it works: whether nobody waits for the read any more."""
        return self._closed or (self._current is not None and self._current.future.cancelled())

    def _run(self) -> None:
        while (read := self._reads.get()) is not None:
            self._current = read
            try:
                if not read.future.cancelled():
                    read.settle(self._transact(read.operation), None)
            except Exception as error:  # noqa: BLE001 - a value that SQLite cannot take must not end the thread for everybody
                read.settle(None, storage_error(self._path, error))
            self._current = None

    def _transact(self, operation: Operation[T]) -> T:
        if self._closed:
            raise sqlite3.OperationalError("it is closed")
        self._connection.execute("BEGIN")
        try:
            return operation(self._connection)
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
