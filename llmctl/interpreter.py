"""Child processes in this Python: command lines that import nothing from the user's current folder, and the form of an error.

It knows the interpreter, and no module.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from llmctl.errors import LlmctlError, from_code

HAS_SAFE_PATH = sys.version_info >= (3, 11)


def module(name: str, *arguments: str) -> list[str]:
    """The command line that runs a module. Plain `python -m` would search the current folder first."""
    if HAS_SAFE_PATH:
        return [sys.executable, "-P", "-m", name, *arguments]
    return code(f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)", *arguments)


def code(text: str, *arguments: str) -> list[str]:
    """The command line that runs a line of Python. Without `-P`, the line first removes the current folder from the path."""
    if HAS_SAFE_PATH:
        return [sys.executable, "-P", "-c", text, *arguments]
    return [sys.executable, "-c", f"import sys; del sys.path[0]; {text}", *arguments]


@contextmanager
def apart(command: Sequence[str], stdin: int = subprocess.DEVNULL) -> "Iterator[subprocess.Popen[bytes]]":
    """A child whose stdout is read, in a session of its own: a Ctrl-C of the terminal reaches the command alone.

    If the block is left by an exception, the child is killed, with its own children.
    """
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        except BaseException:  # an interrupt, or the reader of stdout is gone
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


class ChildError(msgspec.Struct):
    """The error that ended a child, as it writes it (`LlmctlError.fields`)."""

    code: str
    message: str
    hint: str = ""

    def error(self) -> LlmctlError:
        return from_code(self.code, self.message, self.hint)
