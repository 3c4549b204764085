"""A background thread that processes keys one after another, started with the first key.

The caller's function does the work; it checks `closing` and stops early.
"""

import threading
from collections.abc import Callable

from llmctld.runtime.log import log


class Builder:
    """`what`: the product, for the log. A key added while it is processed is processed again."""

    def __init__(self, what: str, work: Callable[[bytes], None]) -> None:
        self._what, self._work = what, work
        self._changed = threading.Condition()
        self._due: dict[bytes, None] = {}
        self._thread: threading.Thread | None = None
        self._busy = self.closing = False

    def request(self, key: bytes) -> None:
        with self._changed:
            self._due[key] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="builder", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait_idle(self) -> None:
        """Waits until no key is left."""
        with self._changed:
            self._changed.wait_for(lambda: self.closing or not (self._due or self._busy))

    def close(self) -> None:
        """Stops the thread; unfinished work is dropped."""
        with self._changed:
            self.closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self.closing or self._due)
                if self.closing:
                    return
                key = next(iter(self._due))
                del self._due[key]
                self._busy = True
            try:
                self._work(key)
            except Exception as error:  # noqa: BLE001 - the product is optional
                log.warning("a background product cannot be built", what=self._what, error=str(error))
