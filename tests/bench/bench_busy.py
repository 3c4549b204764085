"""`make bench-busy MODEL=FILE.gguf [PEER=FOLDER]`: decoding beside busy programs, for each way in which threads may wait.

It opens engines as a user does and asks them in turn; what a window is, and which one counts, is engine/busy.py's.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench import log
from tests.bench.engine import busy
from tests.bench.engine.drive import Engine
from tests.bench.engine.ours import Ours, ours
from tests.bench.engine.peer import llama_server

CONTEXT = 512
PROMPT = [1, 5, 7, 11]
SPINS = ("300", "1000", "3000", "10000", "300000")
WAYS = {f"{spins} turns": {"GOMP_SPINCOUNT": spins} for spins in SPINS} | {"asleep": {"OMP_WAIT_POLICY": "passive"}}
"""How threads wait; the last number is what libgomp does by itself."""
BUSY = (0, 1, 2)


def engines(model: Path, place: Path | None) -> Iterator[tuple[str, Callable[[ExitStack], Engine]]]:
    """Name of a row -> what opens its engine."""
    every = str(os.cpu_count() or 1)

    def opened(threads: str, variables: dict[str, str]) -> Callable[[ExitStack], Ours]:
        settings = {"speculation": "off", "threads": threads}
        return lambda stack: stack.enter_context(ours(model, 1, CONTEXT, settings, None, **variables))

    yield "as it comes", opened("", {})
    yield "1 thread", opened("1", {})
    for way, variables in WAYS.items():
        yield f"{every} threads, {way}", opened(every, variables)
        yield f"{every} or fewer, {way}", opened("", variables)
    if place:
        yield "llama-server", lambda stack: stack.enter_context(llama_server(place, model, 1, CONTEXT))


def row(name: str, open_: Callable[[ExitStack], Engine], rounds: int) -> tuple[str, float]:
    """Tokens a second beside so many busy programs, as a line of the table; and the most that others had meanwhile."""
    cells, disturbed = [name], 0.0
    with ExitStack() as stack:
        engine = open_(stack)
        watch = busy.Watch(engine.daemons if isinstance(engine, Ours) else list)
        for count in BUSY:
            values = []
            for _ in range(rounds):
                with busy.programs(count):
                    value, others = watch.quiet(lambda: busy.rate(engine, PROMPT))
                values.append(value)
                disturbed = max(disturbed, others)
            cells.append(f"{statistics.median(values):.3g}")
    return f"| {' | '.join(cells)} |", disturbed


def main() -> int:
    options = arguments()
    head = "| tokens a second beside so many busy programs | " + " | ".join(map(str, BUSY)) + " |"
    lines, most = [head, "|---" * (1 + len(BUSY)) + "|"], 0.0
    for name, open_ in engines(options.model.absolute(), options.peer and options.peer.absolute()):
        line, disturbed = row(name, open_, options.rounds)
        print(line, file=sys.stderr, flush=True)
        lines.append(line)
        most = max(most, disturbed)
    text = "\n".join([*lines, "", f"- other programs had {most:.2f} processors in a window, at most"])
    print(text)
    if not options.no_log:
        log.append(text, f"; `make bench-busy`, rounds of each: {options.rounds}")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-busy")
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--peer", type=Path, help="the folder with llama-server")
    parser.add_argument("--rounds", type=int, default=3, help="how often each cell is measured")
    parser.add_argument("--no-log", action="store_true", help="print only")
    options = parser.parse_args()
    for path in (options.model, *([options.peer / "llama-server"] if options.peer else [])):
        if not path.is_file():
            parser.error(f"{path} is no file")
    return options


if __name__ == "__main__":
    sys.exit(main())
