"""`daemon logs`: the last lines of the hub's log, and new ones. Lines that are not JSON are printed as they are."""

import select
import sys
from pathlib import Path
from typing import IO

import msgspec

from llmctl.cli.console import out
from llmctl.view.daemon import log_line

EVERY_S = 0.25
"""How often a followed log is read: inotify is not in the standard library."""


def show(file: Path, lines: int, follow: bool) -> None:
    try:
        log = file.open("rb")
    except FileNotFoundError:
        out.notice(f"there is no log yet: {file}")
        return
    with log:
        for line in log.read().splitlines()[-lines:] if lines > 0 else []:
            _print(line)
        if follow:
            _follow(file, log)


def _print(line: bytes) -> None:
    if out.Mode.json:
        out.line(line.decode(errors="replace"))
        return
    try:
        entry = msgspec.json.decode(line, type=dict)
    except msgspec.DecodeError:
        out.line(line.decode(errors="replace"))
        return
    out.line(log_line(entry))


def _follow(file: Path, log: IO[bytes]) -> None:
    """Prints new lines until interrupted or the reader is gone; reopens a rotated log."""
    kept = b""
    while True:
        piece = log.read()
        *whole, kept = (kept + piece).split(b"\n")
        for line in whole:
            _print(line)
        if not piece:
            if _rotated(file, log):
                with file.open("rb") as fresh:
                    return _follow(file, fresh)
            _wait()


def _wait() -> None:
    """Waits EVERY_S. Raises BrokenPipeError if the reader of stdout goes away."""
    watch = select.poll()
    if sys.stdout is not None:
        watch.register(sys.stdout.fileno(), 0)
    for _, events in watch.poll(EVERY_S * 1000):
        if events & (select.POLLERR | select.POLLHUP):
            raise BrokenPipeError


def _rotated(file: Path, log: IO[bytes]) -> bool:
    import os

    try:
        return file.stat().st_ino != os.fstat(log.fileno()).st_ino
    except FileNotFoundError:
        return False
