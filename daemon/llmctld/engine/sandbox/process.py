"""Renders a model's chat template in a child process (child.py), and ends that process at its limits.

The process costs 100 ms once, and a rendering 0.06 ms (median).
"""

import contextlib
import signal
import subprocess
import weakref
from typing import Any

from llmctl.interpreter import module
from llmctld.engine.messages import LENGTH
from llmctld.engine.sandbox.messages import (
    CPU_S,
    PATIENCE,
    Opened,
    ParseTemplate,
    Render,
    TemplateFailed,
    TemplateText,
    decode_word,
    encode,
)

STRIKES = 3
"""Consecutive timeouts after which a template is not tried again: each costs CPU_S."""


class Unrendered(Exception):
    """The template refused (with its own message) or was stopped."""


class TemplateProcess:
    """Starts its process at once without waiting: it imports Jinja2 while the model's weights are read. `strikes`: consecutive
    timeouts."""

    def __init__(self) -> None:
        self.strikes = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._end = self._start()
        self._opening: ParseTemplate | None = None
        self._stopped = ""

    def open(self, source: str, known: dict[str, Any]) -> list[str]:
        """Parse the template; returns the variables it uses. Raises Unrendered."""
        self._opening = ParseTemplate(source, known)
        if self._process is None:
            self._end = self._start()
        opened = self._say(self._opening)
        if not isinstance(opened, Opened):
            raise RuntimeError(f"a template was opened, and {type(opened).__name__} came")
        if opened.broken:
            raise Unrendered(opened.broken)
        return opened.names

    def render(self, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        """Raises Unrendered."""
        if self.strikes >= STRIKES:
            raise Unrendered(f"{self._stopped}, {STRIKES} times in a row; it is disabled until the model is reloaded")
        if self._process is None:
            self._end = self._start()
            self._say(self._opening or ParseTemplate("", {}))
        word = self._say(Render(messages, variables))
        self.strikes = 0
        if isinstance(word, TemplateText):
            return word.text
        raise Unrendered(word.message if isinstance(word, TemplateFailed) else "it was opened twice")

    def close(self) -> None:
        """End the process; `render` would start another."""
        self._process = None
        self._end()

    def _start(self) -> "weakref.finalize[[subprocess.Popen[bytes]], TemplateProcess]":
        """Start the process; returns the finalizer that ends it, also when this object is garbage-collected."""
        self._process = subprocess.Popen(
            module("llmctld.engine.sandbox.child"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return weakref.finalize(self, _end, self._process)

    def _say(self, order: ParseTemplate | Render) -> Opened | TemplateText | TemplateFailed:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        body = encode(order)
        try:
            process.stdin.write(LENGTH.pack(len(body)) + body)
            process.stdin.flush()
            (length,) = LENGTH.unpack(process.stdout.read(LENGTH.size))
            word: Opened | TemplateText | TemplateFailed = decode_word(process.stdout.read(length))
            return word
        except Exception as error:  # a broken pipe or a truncated frame: the process is gone
            raise Unrendered(self._ended(process)) from error

    def _ended(self, process: subprocess.Popen[bytes]) -> str:
        process.kill()
        self.close()
        self.strikes += 1
        self._stopped = _why(process.returncode)
        return self._stopped


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(OSError):  # unwritten input
        process.communicate()


def _why(status: int) -> str:
    if status == -signal.SIGPROF:
        return f"it exceeded {CPU_S:g} s of processor time and was stopped"
    if status == -signal.SIGALRM:
        return f"it exceeded {PATIENCE * CPU_S:g} s and was stopped"
    name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"the process that renders it ended ({name})"
