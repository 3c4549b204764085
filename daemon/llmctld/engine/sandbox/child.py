"""The child process that renders a chat template: untrusted code with limits on time and memory.

It sets up Jinja2 as transformers does. The operating system enforces the limits, so no template can avoid them: a timer for
processor time, and the size of the address space.
"""

import json
import resource
import signal
import sys
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from llmctld.engine.messages import LENGTH
from llmctld.engine.sandbox.messages import (
    BYTES_PER_S,
    CPU_S,
    PATIENCE,
    Opened,
    ParseTemplate,
    Render,
    TemplateFailed,
    TemplateText,
    decode_order,
    encode,
)

ROOM = 256 * 2**20
"""Bytes for one rendering, besides TIMES the size of its input: templates copy their input a few times."""
TIMES = 32
OUTPUT_LENGTH, OUTPUT_PER_BYTE = 2**20, 4
"""Characters of the output, and additional ones per byte of input."""


class GenerationTag(Extension):
    """`{% generation %}` marks the assistant's text for training; it has no effect here."""

    tags = {"generation"}  # noqa: RUF012 - declared so by jinja2

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Program:
    """A parsed template. Raises jinja2.TemplateError and other parse errors."""

    def __init__(self, source: str, known: dict[str, Any]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationTag]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_raise, strftime_now=_strftime_now, namespace=_Names, **known)
        self._template = environment.from_string(source)
        read = environment.parse(source)
        self.names = sorted({name.name for name in read.find_all(nodes.Name)})

    def render(self, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        # transformers always passes tools and documents; templates test for none, not for defined
        given = {"tools": None, "documents": None, "add_generation_prompt": True, **variables}
        return self._template.render(messages=messages, **given)


class _Names(Namespace):
    """Blocks names with leading underscores, which lead into Python's internals."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace has no {name!r}")
        super().__setitem__(name, value)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _tojson(value: Any, indent: int | None = None, **options: Any) -> str:
    """JSON without Jinja's HTML escapes, which no model was trained on."""
    return json.dumps(value, ensure_ascii=options.pop("ensure_ascii", False), indent=indent, **options)


# ---- the process ----------------------------------------------------------------------------------------------------


def main() -> None:
    """Handle orders until the input ends: then the parent is gone."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    program: Program | None = None
    while len(head := sys.stdin.buffer.read(LENGTH.size)) == LENGTH.size:
        body = sys.stdin.buffer.read(LENGTH.unpack(head)[0])
        _limit(CPU_S + len(body) / BYTES_PER_S, ROOM + TIMES * len(body))
        try:
            order = decode_order(body)
            if isinstance(order, ParseTemplate):
                program = Program(order.source, order.known)
                word: Opened | TemplateText | TemplateFailed = Opened(program.names)
            else:
                word = _rendered(program, order, len(body))
            said = encode(word)
        except MemoryError:
            said = _failed(program, f"it used more than {(ROOM + TIMES * len(body)) >> 20} MiB")
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            said = _failed(program, str(error) or type(error).__name__)
        _limit(0.0, None)
        sys.stdout.buffer.write(LENGTH.pack(len(said)) + said)
        sys.stdout.buffer.flush()


def _rendered(program: Program | None, order: Render, size: int) -> TemplateText | TemplateFailed:
    """Render; refuse output that is much longer than its input, which would block everyone during tokenisation."""
    if program is None:
        return TemplateFailed("nothing was opened")
    text, most = program.render(order.messages, order.variables), OUTPUT_LENGTH + OUTPUT_PER_BYTE * size
    if len(text) > most:
        return TemplateFailed(f"it renders {len(text)} characters from {size} bytes; the limit is {most}")
    return TemplateText(text)


def _failed(program: Program | None, message: str) -> bytes:
    message = message[:2000].encode(errors="replace").decode()
    return encode(Opened(broken=message) if program is None else TemplateFailed(message))


def _limit(cpu_s: float, room: int | None) -> None:
    """Set the limits from now on; 0 and None remove them. Where the address space is unknown (macOS) only time is limited."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * cpu_s)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    size = _size()
    if size and room is None:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    elif size and room is not None:
        wanted = size + room
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _size() -> int:
    """Size of the address space in bytes; 0 without /proc."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


if __name__ == "__main__":
    main()
