"""Renders a model's chat template in a child process (child.py), and ends that process at its limits.

The process costs 100 ms once, and a rendering 0.06 ms (median). A rendering that takes longer runs outside: the engine goes on.
"""

import contextlib
import math
import select
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from llmctl.errors import counted
from llmctl.interpreter import module
from llmctld.engine.aside import outside
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
"""Consecutive timeouts after which a template rests: each costs CPU_S."""
REST_S = 600.0
"""How long it rests. Then it gets one try, since the machine may have been busy, and rests again if that one times out."""

PROCESSES = 3
"""Renderings of one template at the same time; more wait for one of them."""
AT_ONCE_S = 0.02
"""The engine waits so long for a rendering: most take less time than going on with others costs."""


class Unrendered(Exception):
    """The template refused (with its own message) or was stopped."""


class TemplateProcess:
    """The process of a template, and others while that one is busy. The first one starts at once without waiting: it imports
    Jinja2 while the model's weights are read. `strikes`: consecutive timeouts. `clock`: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.strikes = 0
        self._clock = clock
        self._rested = 0.0
        """When the rest that the last timeout began is over."""
        self._template: ParseTemplate | None = None
        self._stopped = ""
        self._free = [Child()]
        self._room = threading.Semaphore(PROCESSES)

    def open(self, source: str, known: dict[str, Any]) -> list[str]:
        """Parse the template; returns the variables it uses. Raises Unrendered."""
        self._template = ParseTemplate(source, known)
        opened = self._say(self._template)
        if not isinstance(opened, Opened):
            raise RuntimeError(f"a template was opened, and {type(opened).__name__} came")
        if opened.broken:
            raise Unrendered(opened.broken)
        return opened.names

    def render(self, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        """Raises Unrendered."""
        if self.strikes >= STRIKES and not self.has_rested:
            left = counted(math.ceil((self._rested - self._clock()) / 60), "minute")
            again = f"it is tried again in {left}, or when the model is reloaded"
            raise Unrendered(f"{self._stopped}, {STRIKES} times in a row; {again}")
        word = self._say(Render(messages, variables))
        self.strikes = 0
        if isinstance(word, TemplateText):
            return word.text
        raise Unrendered(word.message if isinstance(word, TemplateFailed) else "it was opened twice")

    @property
    def has_rested(self) -> bool:
        """Whether the last timeout is so long ago that the template should be tried again."""
        return self.strikes > 0 and self._clock() >= self._rested

    def close(self) -> None:
        """End the processes; `render` would start another."""
        while self._free:
            self._free.pop().end()

    def _say(self, order: ParseTemplate | Render) -> Opened | TemplateText | TemplateFailed:
        if not self._room.acquire(blocking=False):
            outside(self._wait_for_room)
        try:
            child = self._free.pop() if self._free else Child()
            if child.template is not self._template and order is not self._template:
                child.say(self._template or ParseTemplate("", {}))
            child.template = self._template
            word = child.say(order)
            self._free.append(child)
            return word
        except ChildEndedError as ended:
            self.strikes, self._rested = self.strikes + 1, self._clock() + REST_S
            self._stopped = str(ended)
            raise Unrendered(self._stopped) from ended
        finally:
            self._room.release()

    def _wait_for_room(self) -> None:
        self._room.acquire()


class ChildEndedError(Exception):
    """The process reached a limit, or died."""


class Child:
    """One process. `template`: what it has parsed. `end` ends it; so does the garbage collector."""

    def __init__(self) -> None:
        self.template: ParseTemplate | None = None
        self._process = subprocess.Popen(
            module("llmctld.engine.sandbox.child"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.end = weakref.finalize(self, _end, self._process)

    def say(self, order: ParseTemplate | Render) -> Opened | TemplateText | TemplateFailed:
        """Its reply; the engine goes on if that takes longer than AT_ONCE_S. Raises ChildEndedError."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        body = encode(order)
        readable = select.poll()
        readable.register(process.stdout, select.POLLIN)
        try:
            process.stdin.write(LENGTH.pack(len(body)) + body)
            process.stdin.flush()
            if not readable.poll(AT_ONCE_S * 1e3):
                outside(lambda: _wait_for(readable))
            (length,) = LENGTH.unpack(process.stdout.read(LENGTH.size))
            word: Opened | TemplateText | TemplateFailed = decode_word(process.stdout.read(length))
            return word
        except Exception as error:  # a broken pipe or a truncated frame: the process is gone
            process.kill()
            self.end()
            raise ChildEndedError(_why(process.returncode)) from error


def _wait_for(readable: select.poll) -> None:
    readable.poll()


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
