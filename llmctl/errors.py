"""Every way a request can fail: the code on the wire, the class in Python, the exit status in the shell.

LlmctlError
 ├── Internal            1    a bug of ours
 ├── Usage               2    wrong arguments
 │    └── ConfigError    2    a wrong configuration file or variable
 ├── Unreachable         3    no hub, or one that speaks another protocol
 ├── ModelUnavailable    4    unknown, broken, or does not fit
 ├── InvalidRequest      5    a field out of range
 │    ├── ContextOverflow  5  the prompt is longer than the context
 │    ├── NotFound       5    no template, conversation, ... of that name
 │    └── Unsupported    5    a field that is known and does nothing yet
 ├── BudgetExceeded      6
 ├── Timeout             7
 ├── Incomplete          8    the output was cut short or does not validate
 ├── EngineFailed        9    the engine died and the answer could not be retried
 ├── Busy               10    the queue is full
 ├── RunFailed          11    a workflow, agent run or batch ended with failed parts
 ├── Waiting            12    a workflow waits at a human gate
 ├── CacheMiss          13    --cache-only and nothing stored
 ├── Storage            14    the disk refused a write
 └── Cancelled         130    interrupted (129 hung up, 143 terminated)

A message says what happened, with the values; a hint says what to do next. `hint` falls back to the class's own.
"""

import copy
import difflib
import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from llmctl.wire import Answer


class LlmctlError(Exception):
    """The root. `code` is the word on the wire, `status` the exit status, `hint` what to do next.

    `answer` is what had been generated when the request failed, if anything had. No error carries a secret, whatever its text
    came from: `secret.hide` sees every message and hint.
    """

    code: ClassVar[str] = "internal"
    status: int = 1
    default_hint: ClassVar[str] = "This is a bug: `llmctl daemon logs` shows the request."

    def __init__(self, message: str, hint: str | None = None, answer: "Answer | None" = None) -> None:
        from llmctl.secret import hide  # it compiles patterns, and most commands do not fail

        self.message = hide(message)
        super().__init__(self.message)
        self.hint = self.default_hint if hint is None else hide(hint)
        self.answer = answer

    def with_answer(self, answer: "Answer | None") -> "Self":
        """The error for one request. One failure may end many requests, and their answers must not meet in one object."""
        own = copy.copy(self)
        own.answer = answer
        return own

    def fields(self) -> dict[str, str]:
        """The error as JSON output and child processes write it."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class Internal(LlmctlError):
    """A bug of ours; the message names the request."""


class Usage(LlmctlError):
    """The command line cannot be understood."""

    code = "usage"
    status = 2
    default_hint = "`--help` after the command lists the options."


class ConfigError(Usage):
    """A configuration file or LLMCTL_* variable holds something wrong; names the key and the file."""

    code = "config"
    default_hint = "Correct it in the file or variable that the message names, then run `llmctl config check`."


class Unreachable(LlmctlError):
    """The hub is not there, cannot be started, does not answer, or speaks another protocol."""

    code = "unreachable"
    status = 3
    default_hint = "`llmctl daemon doctor` looks for the cause; `llmctl daemon logs` shows the hub's log."


class ModelUnavailable(LlmctlError):
    """The model is unknown, its file is missing or broken, or it does not fit in memory."""

    code = "model_unavailable"
    status = 4
    default_hint = "`llmctl models ls` lists the models; `llmctl models add NAME FILE.gguf` adds one."


class InvalidRequest(LlmctlError):
    """A field of the request is out of its range; the message names the field, the value and the range."""

    code = "invalid_request"
    status = 5
    default_hint = "Correct the value that the message names."


class ContextOverflow(InvalidRequest):
    """The prompt has more tokens than the model's context; never cut silently."""

    code = "context_overflow"
    default_hint = "Shorten the prompt, or give the model a larger `context` in the configuration."


class NotFound(InvalidRequest):
    """No template, conversation or file of that name; the hint holds the nearest names."""

    code = "not_found"
    default_hint = "Check the name."


class Unsupported(InvalidRequest):
    """The request asks for something that this version cannot do; the message names the field."""

    code = "unsupported"
    default_hint = "Omit it."


class BudgetExceeded(LlmctlError):
    """A budget has no room for this request."""

    code = "budget_exceeded"
    status = 6
    default_hint = "Wait until the budget resets, or raise it."


class Timeout(LlmctlError):
    """The request's own time limit ran out; what came is in `answer`."""

    code = "timeout"
    status = 7
    default_hint = "Raise `--timeout`, or lower `--max-tokens`."


class Incomplete(LlmctlError):
    """The output was cut short, does not validate, or contains no code block."""

    code = "incomplete"
    status = 8
    default_hint = "Try again, or raise `--max-tokens`."


class EngineFailed(LlmctlError):
    """The engine process died, and the answer could not be computed again."""

    code = "engine_failed"
    status = 9
    default_hint = "Try again; the engine restarts by itself. `llmctl daemon logs` shows why it ended."


class Busy(LlmctlError):
    """The queue is full."""

    code = "busy"
    status = 10
    default_hint = "Try again later, or raise `limits.queue` in the configuration."


class RunFailed(LlmctlError):
    """A workflow, agent run or batch ended with failed parts."""

    code = "run_failed"
    status = 11
    default_hint = "The parts that succeeded are kept."


class Waiting(LlmctlError):
    """A workflow waits for a person."""

    code = "waiting"
    status = 12
    default_hint = "Approve or reject it."


class CacheMiss(LlmctlError):
    """`--cache-only`, and no answer is stored."""

    code = "cache_miss"
    status = 13
    default_hint = "Ask without `--cache-only` to compute the answer."


class Storage(LlmctlError):
    """The disk refused a write; nothing that was acknowledged is lost."""

    code = "storage"
    status = 14
    default_hint = "Free some disk space; `llmctl config path` prints the folders."

    @classmethod
    def unwritten(cls, path: "Path", error: OSError) -> "Storage":
        """A file that cannot be written; the hint follows from the system's error."""
        hint = UNWRITTEN.get(error.errno or 0, "Correct that, and run the command again.")
        return cls(f"cannot write {path}: {error.strerror or error}", hint)


UNWRITTEN = {
    errno.ENOSPC: "Free some disk space; `llmctl config path` names the folders.",
    errno.EDQUOT: "Your disk quota is used up: remove files of yours.",
    errno.EFBIG: "The limit on the size of a file (`ulimit -f`) or of the file system is reached: raise it.",
    errno.EACCES: "Correct the permissions of the file and its folder.",
    errno.EPERM: "Correct the permissions of the file and its folder.",
    errno.EROFS: "The file system is read-only: remount it, or set LLMCTL_HOME to another folder.",
    errno.ENAMETOOLONG: "Choose a shorter name: a file name may have 255 bytes.",
    errno.EISDIR: "There is a folder of that name: remove it, or name another file.",
    errno.ENOTDIR: "A part of the path is a file and not a folder: correct the path.",
}


class Cancelled(LlmctlError):
    """Interrupted, terminated or hung up; what came is in `answer`."""

    code = "cancelled"
    status = 130
    default_hint = ""

    def __init__(
        self, message: str = "cancelled", hint: str | None = None, answer: "Answer | None" = None, status: int = 130
    ) -> None:
        super().__init__(message, hint, answer)
        self.status = status


def _tree(root: type[LlmctlError]) -> Iterable[type[LlmctlError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


ERRORS: dict[str, type[LlmctlError]] = {error.code: error for error in _tree(LlmctlError) if error is not LlmctlError}
"""Wire code -> class. A code this version does not know becomes `Internal`."""

__all__ = [
    "ERRORS",
    "LlmctlError",
    "counted",
    "from_code",
    "nearest",
    *sorted(error.__name__ for error in ERRORS.values()),
]


def from_code(code: str, message: str, hint: str, answer: "Answer | None" = None) -> LlmctlError:
    """The exception for a failure that came over the wire."""
    if code not in ERRORS:  # of a later version, or no hub at all
        return Unreachable(f"{message} (the hub's error code {short(code)!r} is unknown to this version)", hint, answer)
    return ERRORS[code](message, hint, answer)


SHORT = 80
"""Characters of a value that an error repeats."""


def short(value: str) -> str:
    """As an error repeats it: its beginning, where it is long."""
    return value if len(value) <= SHORT else f"{value[:SHORT]}..."


def counted(number: int, noun: str) -> str:
    """The number and the noun, in the plural unless the number is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence with the known names closest to `name`, else with the first few, or "" when there are none."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    if close:
        return f"Did you mean: {', '.join(close)}?"
    return f"Available: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}." if names else ""
