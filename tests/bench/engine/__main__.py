"""`make bench-engine PEER=FOLDER MODEL=FILE.gguf`: our engine against llama-server, row by row, appended to LOG.md."""

import argparse
import shlex
import sys
from pathlib import Path

from tests.bench import log
from tests.bench.engine.figure import Figure
from tests.bench.engine.rows import ROWS, Bench


def main() -> int:
    options = arguments()
    notes: list[str] = []

    def say(note: str) -> None:
        print(note, file=sys.stderr, flush=True)
        notes.append(note)

    draft = options.draft and options.draft.absolute()
    bench = Bench(
        options.peer.absolute(), options.model.absolute(), options.rounds, options.python, draft, options.flags, say
    )
    figures: list[Figure] = []
    for name in options.rows:
        for figure in ROWS[name](bench):
            print(figure.row(), file=sys.stderr, flush=True)
            figures.append(figure)
    text = "\n".join([log.table(figure.row() for figure in figures), "", *(f"- {note}" for note in notes)])
    print(text)
    if not options.no_log:
        log.append(text, f"; `make bench-engine`, rounds of each: {options.rounds}")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-engine")
    parser.add_argument("--peer", type=Path, required=True, help="the folder with llama-server")
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--rounds", type=int, default=5, help="how often each load is measured")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS), help="names, with commas")
    parser.add_argument("--python", type=Path, help="a python that has llama-cpp-python[server]")
    parser.add_argument("--draft", type=Path, help="a smaller GGUF file of the same vocabulary")
    parser.add_argument("--flags", type=shlex.split, help="the peer's flags, instead of trying which are the best")
    parser.add_argument("--no-log", action="store_true", help="print only")
    options = parser.parse_args()
    for path in (options.peer / "llama-server", options.model, *filter(None, [options.python, options.draft])):
        if not path.is_file():
            parser.error(f"{path} is no file")
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}: there are {', '.join(ROWS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
