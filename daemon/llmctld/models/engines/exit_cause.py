"""How an engine ended: of a signal that a crashing library dies of, for want of memory, or in another way.

It reads the number that the system gives and the last words in the engine's log; what follows from it is worker.py's.
"""

import re
from pathlib import Path
from typing import NamedTuple

from llmctld.signals import named

CRASHES = ("SIGSEGV", "SIGILL", "SIGABRT", "SIGBUS", "SIGFPE")
NO_MEMORY = re.compile(r"bad_alloc|out of memory|(cannot|failed to) allocate", re.IGNORECASE)
LAST_WORDS = 2**20


class ExitCause(NamedTuple):
    """How a process ended: a signal's number, negative, or its exit status."""

    code: int

    @property
    def words(self) -> str:
        return f"killed by {named(self.code)}" if self.code < 0 else named(self.code)

    @property
    def signal(self) -> str:
        return named(self.code) if self.code < 0 else ""

    @property
    def is_crash(self) -> bool:
        """Whether it may be the library's own doing: memory that ran out, or somebody's `kill`, is not."""
        return self.signal in CRASHES


def ran_out(death: ExitCause, log_file: Path, began: int) -> str:
    """The words of a library that gave up since it could have no memory: no rung is at fault, and there may be more later.

    `began`: how long the log was when the process was started.
    """
    if death.signal != "SIGABRT":
        return ""
    with log_file.open("rb") as file:
        file.seek(began)
        lines = file.read(LAST_WORDS).decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if NO_MEMORY.search(line)), "")
