"""A thread that does what is due, one key after another, and is there only once something is.

It knows keys; what is to be done for one is its caller's function, which looks at `closing` and gives up.
"""

import threading
from collections.abc import Callable

from llmctld.watch import log


class Builder:
    """`what` it makes is for the log. A key that is wanted again meanwhile has another turn."""

    def __init__(self, what: str, work: Callable[[bytes], None]) -> None:
        self._what, self._work = what, work
        self._changed = threading.Condition()
        self._due: dict[bytes, None] = {}
        self._thread: threading.Thread | None = None
        self._busy = self.closing = False

    def want(self, key: bytes) -> None:
        with self._changed:
            self._due[key] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="builder", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def settle(self) -> None:
        """Waits until nothing is due."""
        with self._changed:
            self._changed.wait_for(lambda: self.closing or not (self._due or self._busy))

    def close(self) -> None:
        """What is half done is given up."""
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
            except Exception as error:  # noqa: BLE001 - what it makes is missed, and no more
                log.warning("something could not be made beforehand", what=self._what, error=str(error))
