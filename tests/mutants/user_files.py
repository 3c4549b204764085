"""Feeds mutants of the files that people write to the commands that read them, all in this process:

`python -m tests.mutants.user_files KIND COUNT SEED`,
with LLMCTL_HOME set and the model `echo` added there. Prints a line of JSON for
each flaw, then the sums.

It knows commands and their exit statuses, not how a file is read.
"""

import io
import json
import os
import random
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from tests.mutants import notations
from tests.mutants.mutate import Notation, mutant

CEILING_S = 150
"""A command that takes longer hangs; it is no measurement."""
MEMORY_BYTES = 6 * 2**30
"""Address space of this process: a file that makes a command take more is a flaw."""


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


class Hang(BaseException):
    """The command took longer than the ceiling."""


class Kind(NamedTuple):
    """A kind of file: its notation, good examples, where it lies, the commands that read it, and the statuses that may follow.

    A command that refuses the file has to say one of `names`.
    """

    notation: Notation
    examples: Callable[[], Sequence[str]]
    file: str
    commands: Sequence[Sequence[str]]
    statuses: frozenset[int]


ASK = ("ask", "hi", "-m", "echo", "--max-tokens", "200", "--no-stdin", "--no-cache")
OF_A_QUESTION = frozenset({0, 2, 4, 5, 7, 8, 13})
KINDS = {
    "toml": Kind(
        notations.TOML, lambda: (notations.settings_file(), '[models]\nsearch = ["/a"]\n[models.echo]\nslots = 2\n'),
        "config.toml",
        (("config", "check"), ("config", "show"), ("models", "ls")), frozenset({0, 2}),
    ),
    "yaml": Kind(
        notations.YAML, lambda: notations.TEMPLATES, "templates/t.yaml",
        (("templates", "show", "t", "--json"), ("templates", "show", "t"), ("ask", "hi", "-t", "t", "--no-stdin")), OF_A_QUESTION,
    ),
    "rows": Kind(
        notations.JSON, lambda: notations.ROWS, "rows.jsonl", (("cache", "warm", "{file}", "-m", "echo"),), OF_A_QUESTION,
    ),
    "trace": Kind(notations.JSON, lambda: notations.TRACE, "trace.jsonl", (("cache", "replay", "{file}"),), frozenset({0, 5})),
    "schema": Kind(
        notations.SCHEMA, lambda: notations.SCHEMAS, "s.json", ((*ASK, "--schema", "{file}"),), frozenset({0, 2, 5, 8}),
    ),
    "grammar": Kind(
        notations.GBNF, lambda: notations.GRAMMARS, "g.gbnf", ((*ASK, "--grammar", "{file}"),), frozenset({0, 2, 5, 8}),
    ),
    "model": Kind(
        notations.JSON, lambda: notations.MODELS, "models/mutant.json",
        (("models", "ls"), ("models", "ls", "--json"), ("models", "show", "mutant"), ("config", "check")), frozenset({0, 2, 4}),
    ),
}  # fmt: skip


def commands_for(kind: Kind, file: Path) -> list[list[str]]:
    return [[part.replace("{file}", str(file)) for part in command] for command in kind.commands]


def written(kind: Kind, name: str, seed: int, number: int, file: Path) -> str:
    """Writes a mutant; returns what was changed."""
    dice = random.Random(f"{name} {seed} {number}")
    changes, content = mutant(dice, [text.encode() for text in kind.examples()], kind.notation)
    file.write_bytes(content)
    return changes


def run(arguments: Sequence[str]) -> Outcome:
    """A command line in this process, with what it prints."""
    from llmctl.cli import main
    from llmctl.cli.console import out, signals

    out.Mode.json = out.Mode.quiet = False
    signals.forget()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _stream(), _stream()
    try:
        status = replay(arguments[2:]) if _is_replay(arguments) else main.run(list(arguments))
    finally:
        (out_stream, err_stream), (sys.stdout, sys.stderr) = (sys.stdout, sys.stderr), before
    return Outcome(status, _read(out_stream), _read(err_stream))


def replay(arguments: Sequence[str]) -> int:
    """What `cache replay` starts as a process; the client's part prints its lines."""
    from llmctld.replay.__main__ import main

    before, sys.argv = sys.argv, ["replay", *arguments]
    try:
        return main()
    finally:
        sys.argv = before


def _is_replay(arguments: Sequence[str]) -> bool:
    return tuple(arguments[:2]) == ("cache", "replay")


def _stream() -> Any:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape", write_through=True)


def _read(stream: Any) -> str:
    stream.flush()
    text: str = stream.buffer.getvalue().decode("utf-8", "replace")
    return text


def ended(arguments: Sequence[str]) -> Outcome | None:
    """How a command line ended in this process; None if it did not within the ceiling."""
    try:
        with ceiling():
            return run(arguments)
    except Hang:
        return None
    except Exception:  # noqa: BLE001 - what passes the command's own last boundary is what is looked for
        return Outcome(1, "", traceback.format_exc())


def wrong(outcome: Outcome, statuses: Set[int], name: str) -> str:
    """What is wrong with how a command ended; "" if nothing is. `name`: what an error has to mention."""
    said = outcome.err.strip() or outcome.out.strip()
    if outcome.status not in statuses:
        return f"status {outcome.status}: {said[-1500:]}"
    if not outcome.status:
        return ""
    if "Traceback" in said or "bug" in said:
        return said[-1500:]
    message, hint = _parts(said)
    if not (message and hint):
        return f"status {outcome.status} without a message or a hint: {said[:600]!r}"
    return "" if name in message else f"status {outcome.status} without the name {name}: {said[:600]!r}"


def _parts(said: str) -> tuple[str, str]:
    """Message and hint of an error, as text or JSON."""
    if said.startswith("{"):
        error = json.loads(said.splitlines()[-1])["error"]
        return error["message"], error["hint"]
    message, _, hint = said.rpartition("llmctl: ")[2].strip().partition("\n")
    return message, hint


def flaw_of(kind: Kind, arguments: Sequence[str], outcome: Outcome | None) -> str:
    """`wrong`, for a command that reads a file of this kind; commands that only read files name them."""
    if outcome is None:
        return f"no end within {CEILING_S} s"
    reads = arguments[0] in ("config", "models", "templates") or _is_replay(arguments)
    return wrong(outcome, kind.statuses, Path(kind.file).name if reads and "models/" not in kind.file else "")


@contextmanager
def ceiling() -> Any:
    def late(number: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, CEILING_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> int:
    name, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    kind, home = KINDS[name], Path(os.environ["LLMCTL_HOME"])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.environ["LLMCTL_DEBUG"] = "1"
    os.chdir(home)
    (home / "note.txt").write_text("a note")
    (home / "note.gbnf").write_text('root ::= "x"')
    file = home / kind.file
    file.parent.mkdir(exist_ok=True)
    statuses: Counter[str] = Counter()
    flaws = 0
    for number in range(count):
        changes = written(kind, name, seed, number, file)
        for arguments in commands_for(kind, file):
            outcome = ended(arguments)
            statuses[f"{arguments[0]} {arguments[1]} {outcome.status if outcome else 'hangs'}"] += 1
            if words := flaw_of(kind, arguments, outcome):
                flaws += 1
                kept = home / f"flaw-{name}-{number}"
                kept.write_bytes(file.read_bytes())
                report(flaw=words, number=number, changes=changes, command=arguments, kept=str(kept))
    report(kind=name, mutants=count, flaws=flaws, statuses=dict(sorted(statuses.items())))
    return 1 if flaws else 0


def report(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
