"""Output: results on stdout, everything else on stderr, as plain text or JSON lines.

It knows terminals and pipes, not what is printed.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from llmctl.errors import LlmctlError, Storage
from llmctl.view.printable import AS_JSON, Pieces, printable

_encoder = msgspec.json.Encoder(decimal_format="number")  # money as the exact number, not as a string


class Mode:
    """The flags `--json` and `--quiet` of the running command."""

    json = False
    quiet = False


def text(piece: str, styled: bool = False) -> None:
    """Writes to stdout and flushes. For a terminal, control characters are escaped unless `styled`; a pipe gets the text as is.

    Raises BrokenPipeError if the reader is gone and Storage if the write fails. A closed stdout is ignored.
    """
    if sys.stdout is not None and piece:
        words = piece if styled else shown(piece, sys.stdout)
        try:
            sys.stdout.buffer.write(words.encode("utf-8", "replace"))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Storage(
                f"cannot write to stdout: {error.strerror}", "Free some space where the output goes."
            ) from error


def shown(piece: str, stream: Any) -> str:
    """Text from elsewhere, made safe for a terminal; unchanged for other streams."""
    return printable(piece.replace("\r\n", "\n")) if is_terminal(stream) else piece


def shower(stream: Any) -> Callable[[str], str]:
    """`shown` for text that arrives in pieces."""
    return Pieces().printable if is_terminal(stream) else str


def line(piece: str) -> None:
    text(piece + "\n")


def json_line(value: Any) -> None:
    """Writes a JSON object on one line of stdout; the tag of a wire message is left out."""
    plain = msgspec.to_builtins(value, builtin_types=(Decimal,))
    if isinstance(value, msgspec.Struct) and isinstance(plain, dict) and value.__struct_config__.tag is not None:
        plain.pop("type", None)
    text(_json(plain, sys.stdout) + "\n", styled=True)


def aside(piece: str) -> None:
    """Writes to stderr; errors are ignored."""
    if sys.stderr is not None and piece:
        with contextlib.suppress(OSError):
            sys.stderr.buffer.write(piece.encode("utf-8", "replace"))
            sys.stderr.buffer.flush()


def notice(words: str) -> None:
    """Writes a notice to stderr, unless `-q` was given."""
    if Mode.quiet:
        return
    from llmctl.secret import hide

    words = hide(words)
    aside((_json({"notice": words}, sys.stderr) if Mode.json else f"llmctl: {printable(words)}") + "\n")


def progress(words: str) -> None:
    """Shows a progress line on stderr that the next call replaces and "" erases; only in a terminal."""
    if is_terminal(sys.stderr) and not Mode.quiet and not Mode.json and os.environ.get("TERM") != "dumb":
        aside(f"\r{words}\x1b[K")


def failure(error: LlmctlError) -> None:
    """Writes an error and its hint to stderr."""
    if Mode.json:
        what = error.fields()
        aside(_json({"error": what}, sys.stderr) + "\n")
    else:
        aside(printable(f"llmctl: {error.message}\n" + (f"{error.hint}\n" if error.hint else "")))


def _json(value: Any, stream: Any) -> str:
    """JSON; for a terminal, control characters that JSON permits are escaped too."""
    try:
        line = _encoder.encode(value).decode()
    except UnicodeEncodeError:  # a file name that is no UTF-8
        line = _encoder.encode(_encodable(msgspec.to_builtins(value, builtin_types=(Decimal,)))).decode()
    return line.translate(AS_JSON) if is_terminal(stream) else line


def _encodable(value: Any) -> Any:
    """The value with a question mark for each character that UTF-8 does not have, as in plain output."""
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def same_destination() -> bool:
    """Whether stdout and stderr end in the same place: both in a terminal, or in one file or pipe (`2>&1`)."""
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
