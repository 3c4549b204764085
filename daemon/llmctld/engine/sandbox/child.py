"""The process in which a model's chat template runs: a program of somebody else's, which may neither last nor grow.

It knows Jinja2 as transformers sets it up, and nothing of models. Its limits are the system's own, so no template can talk its
way round them: processor time by a timer that ends the process, memory by the size of its address space.
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
    Failed,
    Open,
    Opened,
    Render,
    Rendered,
    decode_order,
    encode,
)

ROOM = 256 * 2**20
"""Bytes that one rendering may take, beside TIMES those that it is given: a template copies what it is given a few times."""
TIMES = 32
LONGEST, LONGER = 2**20, 4
"""Characters of what it makes, and how many more for each byte that it is given."""


class Generation(Extension):
    """`{% generation %}` marks what the assistant said, for training; when asking it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - declared so by jinja2

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Program:
    """A template that was read. Raises jinja2.TemplateError, and what else reading it meets."""

    def __init__(self, source: str, known: dict[str, Any]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_raise, strftime_now=_strftime_now, namespace=_Names, **known)
        self._template = environment.from_string(source)
        read = environment.parse(source)
        self.names = sorted({name.name for name in read.find_all(nodes.Name)})

    def render(self, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        # transformers always passes tools and documents: templates test them for none, not for being there
        given = {"tools": None, "documents": None, "add_generation_prompt": True, **variables}
        return self._template.render(messages=messages, **given)


class _Names(Namespace):
    """Without a way to what Python keeps behind underscores."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace has no {name!r}")
        super().__setitem__(name, value)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _tojson(value: Any, indent: int | None = None, **options: Any) -> str:
    """Jinja's own escapes for HTML, which no model was trained on."""
    return json.dumps(value, ensure_ascii=options.pop("ensure_ascii", False), indent=indent, **options)


# ---- the process ----------------------------------------------------------------------------------------------------


def main() -> None:
    """One order after another, until there is no more to read: whoever started this is gone then."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    program: Program | None = None
    while len(head := sys.stdin.buffer.read(LENGTH.size)) == LENGTH.size:
        body = sys.stdin.buffer.read(LENGTH.unpack(head)[0])
        _limit(CPU_S + len(body) / BYTES_PER_S, ROOM + TIMES * len(body))
        try:
            order = decode_order(body)
            if isinstance(order, Open):
                program = Program(order.source, order.known)
                word: Opened | Rendered | Failed = Opened(program.names)
            else:
                word = _rendered(program, order, len(body))
            said = encode(word)
        except MemoryError:
            said = _failed(program, f"it takes more than {(ROOM + TIMES * len(body)) >> 20} MiB")
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            said = _failed(program, str(error) or type(error).__name__)
        _limit(0.0, None)
        sys.stdout.buffer.write(LENGTH.pack(len(said)) + said)
        sys.stdout.buffer.flush()


def _rendered(program: Program | None, order: Render, size: int) -> Rendered | Failed:
    """A text that is much longer than what it was made of would hold up everybody when it becomes tokens."""
    if program is None:
        return Failed("nothing was opened")
    text, most = program.render(order.messages, order.variables), LONGEST + LONGER * size
    if len(text) > most:
        return Failed(f"it makes {len(text)} characters of {size} bytes; at most {most} are taken")
    return Rendered(text)


def _failed(program: Program | None, message: str) -> bytes:
    message = message[:2000].encode(errors="replace").decode()
    return encode(Opened(broken=message) if program is None else Failed(message))


def _limit(cpu_s: float, room: int | None) -> None:
    """From now on; 0 and None: none. Where the system does not tell its size (macOS), time alone is the limit."""
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
    """Of the address space, in bytes; 0 where /proc does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


if __name__ == "__main__":
    main()
