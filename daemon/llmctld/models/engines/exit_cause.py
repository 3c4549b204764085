"""Why an engine process ended: a crash of the library, lack of memory, or something else.

Reads the exit status and the end of the engine's log; worker.py decides what follows.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from llmctld.runtime.exit_status import exit_name

CRASHES = ("SIGSEGV", "SIGILL", "SIGABRT", "SIGBUS", "SIGFPE")
NO_MEMORY = re.compile(r"bad_alloc|out of memory|(cannot|failed to) allocate", re.IGNORECASE)
LAST_WORDS = 2**20


class ExitCause(NamedTuple):
    """Exit status of a process; a signal as its negative number."""

    code: int

    @property
    def words(self) -> str:
        return f"killed by {exit_name(self.code)}" if self.code < 0 else exit_name(self.code)

    @property
    def signal(self) -> str:
        return exit_name(self.code) if self.code < 0 else ""

    @property
    def is_crash(self) -> bool:
        """Whether the library may have crashed, as opposed to lack of memory or a `kill`."""
        return self.signal in CRASHES


def ran_out(exit_cause: ExitCause, log_file: Path, began: int) -> str:
    """The log line in which a library that aborted says that it got no memory; else empty. No rung is at fault then.

    `began`: length of the log when the process was started. The libraries report this by a message only, so the text
    must be read.
    """
    if exit_cause.signal != "SIGABRT":
        return ""
    lines: list[str] = []
    with suppress(OSError), log_file.open("rb") as file:  # it may have been removed
        file.seek(began)
        lines = file.read(LAST_WORDS).decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if NO_MEMORY.search(line)), "")
