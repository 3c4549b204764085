"""`cache replay`: runs the comparison of eviction policies in a process of its own and prints a line per policy."""

import subprocess
import sys
from contextlib import suppress
from typing import IO

import msgspec

from llmctl.cli.console import out, stdin
from llmctl.cli.console.show import show
from llmctl.errors import Internal, Usage
from llmctl.interpreter import ChildError, apart, module
from llmctl.view import replay as view


class ReplayLine(msgspec.Struct):
    """A line of `python -m llmctld.replay`: the head, a policy, or the error that ended it."""

    requests: int = 0
    keys: int = 0
    bytes: int = 0
    policy: str | None = None
    hits: int = 0
    hit_rate: float = 0.0
    recomputed_s: float = 0.0
    recomputed_cost: float | None = None
    error: ChildError | None = None


def replay(trace: str | None, size: int | None) -> None:
    """Replays `trace`, or the history if it is None; `-` is stdin. `size` is in bytes. Raises the error of the process."""
    if trace == "-" and sys.stdin is None:
        raise Usage("TRACE is -, but stdin is closed", "Pipe the trace in, or name a file.")
    command = module("llmctld.replay")
    command += [] if size is None else ["--bytes", str(size)]
    command += ["--history"] if trace is None else ["--", trace]
    given = subprocess.PIPE if trace == "-" else subprocess.DEVNULL
    with apart(command, given) as process:
        assert process.stdout is not None
        if process.stdin is not None:
            _feed(process.stdin)
        head, played = _read(process.stdout.readline()), []
        for raw in process.stdout:
            line = _read(raw)
            played.append(
                view.Played(line.policy or "", line.hits, line.hit_rate, line.recomputed_s, line.recomputed_cost)
            )
            if out.Mode.json:
                out.json_line(played[-1]._asdict())
    if process.returncode != 0:
        raise Internal(f"the replay exited with status {process.returncode}", "Its output is shown above.")
    if not out.Mode.json:
        show(view.table(played))
        out.line(view.summary(head.requests, head.keys, head.bytes))


def _feed(pipe: IO[bytes]) -> None:
    """Copies stdin to the process. If it stops reading, its own error says why."""
    with suppress(BrokenPipeError), pipe:
        for line in stdin.lines():
            pipe.write(line + b"\n")


def _read(raw: bytes) -> ReplayLine:
    try:
        line = msgspec.json.decode(raw, type=ReplayLine)
    except msgspec.DecodeError as error:
        raise Internal(f"the replay printed {raw[:80]!r} instead of JSON", "Its output is shown above.") from error
    if line.error is not None:
        raise line.error.error()
    return line
