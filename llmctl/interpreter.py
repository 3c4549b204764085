"""Child processes in this Python: command lines that import nothing from the user's current folder, and the form of an error.

It knows the interpreter, and no module.
"""

import sys

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


class ChildError(msgspec.Struct):
    """The error that ended a child, as it writes it (`LlmctlError.fields`)."""

    code: str
    message: str
    hint: str = ""

    def error(self) -> LlmctlError:
        return from_code(self.code, self.message, self.hint)
