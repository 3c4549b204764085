"""The two streams: answers on stdout, everything else on stderr, plain or as JSON lines.

It knows what a terminal allows; it refuses to know what is being said.
"""

import contextlib
import os
import sys
from typing import Any

import msgspec

from llmctl.errors import LlmctlError, Storage
from llmctl.view.printable import AS_JSON, printable


class Mode:
    """What the flags `--json` and `--quiet` of this command decided."""

    json = False
    quiet = False


def text(piece: str, styled: bool = False) -> None:
    """Writes to stdout and flushes. A terminal obeys nothing in it, unless it is `styled` by us; a pipe gets it as it is.

    Raises BrokenPipeError when the reader went away; a closed stdout takes nothing.
    """
    if sys.stdout is not None and piece:
        words = piece if styled else shown(piece, sys.stdout)
        try:
            sys.stdout.buffer.write(words.encode("utf-8", "replace"))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Storage(f"stdout cannot be written: {error.strerror}", "Make room where the output goes.") from error


def shown(piece: str, stream: Any) -> str:
    """What others wrote, as this stream gets it."""
    return printable(piece.replace("\r\n", "\n")) if is_terminal(stream) else piece


def line(piece: str) -> None:
    text(piece + "\n")


def json_line(value: Any) -> None:
    """One JSON object on a line of stdout; a message of the wire without its tag."""
    plain = msgspec.to_builtins(value)
    if isinstance(value, msgspec.Struct) and isinstance(plain, dict) and value.__struct_config__.tag is not None:
        plain.pop("type", None)
    text(_json(plain, sys.stdout) + "\n", styled=True)


def aside(piece: str) -> None:
    """Writes to stderr; one that went away is no trouble."""
    if sys.stderr is not None and piece:
        with contextlib.suppress(OSError):
            sys.stderr.buffer.write(piece.encode("utf-8", "replace"))
            sys.stderr.buffer.flush()


def notice(words: str) -> None:
    """What the user should know that is not the answer; `-q` silences it."""
    if Mode.quiet:
        return
    aside((_json({"notice": words}, sys.stderr) if Mode.json else f"llmctl: {printable(words)}") + "\n")


def passing(words: str) -> None:
    """A line of stderr that the next one takes the place of; only for a terminal, and "" at the end wipes it away."""
    if is_terminal(sys.stderr) and not Mode.quiet and not Mode.json and os.environ.get("TERM") != "dumb":
        aside(f"\r{words}\x1b[K")


def failure(error: LlmctlError) -> None:
    """The last thing on stderr: what happened, and what to do next."""
    if Mode.json:
        what = {"code": error.code, "message": error.message, "hint": error.hint}
        aside(_json({"error": what}, sys.stderr) + "\n")
    else:
        aside(printable(f"llmctl: {error.message}\n" + (f"{error.hint}\n" if error.hint else "")))


def _json(value: Any, stream: Any) -> str:
    """The same value whatever the stream; for a terminal also those letters are escaped that it obeys and JSON lets through."""
    line = msgspec.json.encode(value).decode("utf-8", "replace")
    return line.translate(AS_JSON) if is_terminal(stream) else line


def one_place() -> bool:
    """Whether what goes to stderr stands amid what goes to stdout: both are a terminal, or one file or pipe (`2>&1`)."""
    if is_terminal(sys.stdout) and is_terminal(sys.stderr):
        return True
    try:
        return os.path.samestat(os.fstat(1), os.fstat(2))
    except OSError:
        return False


def is_terminal(stream: Any) -> bool:
    return stream is not None and stream.isatty()


def has_colour(stream: Any) -> bool:
    """A terminal, and neither NO_COLOR nor TERM=dumb."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
