"""The hub's log: JSON lines with the request's id, rotated by size, without prompts and secrets.

Equal lines are written a hundred times and then counted (repeats.py).
"""

import logging
import logging.handlers
import os
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict

from llmctl.config import Logs
from llmctl.secret import hide
from llmctld.runtime.repeats import DIFFERING, Repeats

TALKATIVE = ("faiss.loader",)
"""Loggers of libraries that report every step: builds that this processor cannot use."""


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


class _LogFile(logging.handlers.RotatingFileHandler):
    """A file that is begun anew, with its folder, when somebody has removed or renamed it."""

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is not None and not self._is_there(self.stream):
            self.close()  # the next line opens the file again
            with suppress(OSError):
                Path(self.baseFilename).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().emit(record)

    def _is_there(self, stream: TextIO) -> bool:
        try:
            return os.path.samestat(os.fstat(stream.fileno()), os.stat(self.baseFilename))
        except OSError:
            return False


@contextmanager
def open_log(folder: Path, settings: Logs) -> Iterator[None]:
    """Sends all log messages within the block to `folder`/hub.log; everything is written when the block ends.

    A log that cannot be written stops nothing.
    """
    logging.raiseExceptions = False
    handler = _LogFile(
        folder / "hub.log", maxBytes=settings.max_bytes, backupCount=settings.files, encoding="utf-8", delay=True
    )
    handler.setFormatter(_Formatter("%(message)s"))
    # a thread writes, so that a slow disk does not block the event loop
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    writer = logging.handlers.QueueListener(lines, handler)
    writer.start()
    root = logging.getLogger()
    root.handlers = [logging.handlers.QueueHandler(lines)]
    root.setLevel(settings.level.upper())
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            structlog.processors.add_log_level,
            _repeats,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    try:
        yield
    finally:
        _repeats.flush(all_=True)
        writer.stop()


def write_counts() -> None:
    """Writes how often lines were repeated, when their time is over."""
    _repeats.flush()


def _write_count(line: EventDict, times: int) -> None:
    fields = {name: value for name, value in line.items() if name not in ("event", "level", "exc_info", *DIFFERING)}
    level = getattr(logging, line["level"].upper())
    # in an empty context: the line belongs to no single request
    Context().run(partial(log.log, level, f"{line['event']}: repeated {times:,} times", **fields))


_repeats = Repeats(_write_count)


def warn_on_stderr() -> None:
    """For a process whose stdout another program reads: warnings go to stderr, and the rest nowhere."""
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )


log: structlog.stdlib.BoundLogger = structlog.get_logger("llmctld")
