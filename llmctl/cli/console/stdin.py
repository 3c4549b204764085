"""Reading stdin: to its end however slow it is, with a notice while waiting, and never cut off silently.

It knows pipes, files and sockets, not what the text is for.
"""

import os
import select
import stat
import sys
from collections.abc import Iterator

from llmctl.cli.console import out
from llmctl.errors import InvalidRequest
from llmctl.wire import MAX_BODY_BYTES
from llmctl.written import check_line, decode_text

SILENCE_S = 2.0


def read(skip: bool, has_prompt: bool) -> str | None:
    """The text on stdin, or None for a terminal, /dev/null, a closed stdin or `skip`."""
    if skip or os.environ.get("LLMCTL_NO_STDIN", "0") not in ("", "0") or sys.stdin is None:
        return None
    kind = os.fstat(0).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISREG(kind) or stat.S_ISSOCK(kind)):
        return None
    begun = os.lseek(0, 0, os.SEEK_CUR) if stat.S_ISREG(kind) else 0
    data = _whole()
    if begun and data and has_prompt:
        out.notice(
            f"stdin is a file that was already read up to byte {begun}; its last {len(data)} bytes are part of this request. "
            "`--no-stdin` or `</dev/null` leaves them to the next reader"
        )
    return decode_text(data, "stdin")


def _whole() -> bytes:
    data = bytearray()
    for piece in _pieces("; `--no-stdin` or LLMCTL_NO_STDIN=1 skips it"):
        data += piece
        if len(data) > MAX_BODY_BYTES:
            raise InvalidRequest(f"stdin has more than {MAX_BODY_BYTES} bytes, the limit", "Send less text.")
    return bytes(data)


def lines() -> Iterator[bytes]:
    """The lines of stdin as they arrive, without line ends. Raises InvalidRequest for one that no request can carry."""
    rest, number = bytearray(), 1
    for piece in _pieces():
        first, *more = piece.split(b"\n")
        rest += first
        check_line(rest, "stdin", number, MAX_BODY_BYTES)
        for line in more:
            yield bytes(rest)
            rest, number = bytearray(line), number + 1
    if rest:
        yield bytes(rest)


def _pieces(way_out: str = "") -> Iterator[bytes]:
    told = False
    while True:
        ready, _, _ = select.select([0], [], [], None if told else SILENCE_S)
        if not ready:
            told = True
            out.notice(f"waiting for stdin to end{way_out}")
            continue
        try:
            piece = os.read(0, 1 << 20)
        except BlockingIOError:
            continue
        if not piece:
            return
        yield piece
