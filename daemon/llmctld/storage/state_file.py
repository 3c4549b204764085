"""A small file that is always written whole, from what memory holds: lost under a running hub, it is written again.

It does not know what the file holds.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from llmctl.files import write_whole
from llmctld.runtime.log import log
from llmctld.storage.files import set_aside
from llmctld.storage.loss import LossRule


class StateFile:
    """`content` returns what the file should hold; None: nothing, so that a lost file stays lost. `sync`: a power cut undoes no
    write that has returned. `accepts` says whether what another program wrote may stay.
    """

    def __init__(
        self,
        path: Path,
        rule: LossRule,
        content: Callable[[], bytes | None],
        sync: bool = False,
        accepts: Callable[[bytes], bool] = lambda content: False,
    ) -> None:
        self.path = path
        self._rule, self._content, self._sync, self._accepts = rule, content, sync, accepts
        self._turn = threading.Lock()
        self._identity = _identity(path)
        """Device, inode, size and time of the file as it was read or written last; None: there was none."""
        self._failing = False

    def set_damaged_aside(self, error: object) -> None:
        """Called by the owner, who could not make sense of the file at the start."""
        with self._turn:
            try:
                aside = set_aside(self.path)
            except OSError as trouble:
                log.warning("a damaged file cannot be set aside", file=str(self.path), reason=trouble.strerror)
                return
            self._identity = None
        self._rule.say(f"was damaged ({error})", self._rule.at_start, aside)

    def look(self) -> None:
        """Writes the file again if it is not the one that was written last (storage/watch.py). Costs a stat."""
        if self._turn.locked() or self._lost() is None or (content := self._content()) is None:
            return
        try:
            self.write(content)
        except OSError as error:
            if not self._failing:
                log.warning("a lost file cannot be written again", file=str(self.path), reason=error.strerror)
            self._failing = True

    def write(self, content: bytes) -> None:
        """Replaces the file. What another program put there is set aside. Raises OSError; then the old file is as it was."""
        with self._turn:
            happened, aside = self._lost(), None
            if happened is not None:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                aside = set_aside(self.path)
            write_whole(self.path, content, sync=self._sync)
            self._identity, self._failing = _identity(self.path), False
        if happened is not None:
            self._rule.say(happened, self._rule.under_way, aside)

    def _lost(self) -> str | None:
        """What happened to the file since it was read or written, in words."""
        before, now = self._identity, _identity(self.path)
        if before is None or now == before:
            return None
        if now is None:
            return "was removed"
        with suppress(OSError):
            if self._accepts(self.path.read_bytes()):
                self._identity = now
                return None
        return "was replaced" if now[:2] != before[:2] else "was changed by another program"


def _identity(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
