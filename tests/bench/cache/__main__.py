"""`make bench-cache DATA=FOLDER [ROWS=lookup,stream]`: the caches' numbers with their targets, appended to LOG.md, negatives
too.

A row is a file of this folder with `measure(data)`; its line in `ROWS` says whether it can do without the question data.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.bench import log
from tests.bench.cache import data, decision, eviction, guards, levels, lifetimes, lookup, pairs, prefetch, stream
from tests.bench.measure import Number


class Row(NamedTuple):
    """`measure` takes the folder of the question data, None where none was given; with `needs_data` it always gets one."""

    measure: Callable[[Path | None], list[Number]]
    needs_data: bool = False


ROWS: dict[str, Row] = {
    "levels": Row(levels.measure),
    "lookup": Row(lookup.measure),
    "decision": Row(decision.measure, needs_data=True),
    "stream": Row(stream.measure, needs_data=True),
    "stream-whole": Row(stream.measure_whole, needs_data=True),
    "stream-other-words": Row(stream.measure_other_words, needs_data=True),
    "pairs": Row(pairs.measure, needs_data=True),
    "prefetch": Row(prefetch.measure),
    "guards": Row(guards.measure, needs_data=True),
    "eviction": Row(eviction.measure),
    "lifetimes": Row(lifetimes.measure),
}
"""In the order in which they are measured."""


def main() -> int:
    options = arguments()
    numbers: list[Number] = []
    for name in options.rows:
        print(f"{name} ...", file=sys.stderr, flush=True)
        for number in ROWS[name].measure(options.data):
            print(number.row(), file=sys.stderr, flush=True)
            numbers.append(number)
    table = log.table(number.row() for number in numbers)
    print(table)
    if not options.no_log:
        log.append(table, f"; `make bench-cache`, {', '.join(options.rows)}")
    return 0


def arguments() -> argparse.Namespace:
    """Raises SystemExit with status 2, and a line that says what to give, for rows that cannot be measured."""
    parser = argparse.ArgumentParser(prog="make bench-cache")
    parser.add_argument("--data", type=Path, help=f"a folder with {data.STREAM}, {data.NEAR} and {data.PAIRS}")
    parser.add_argument("--rows", type=lambda text: text.split(","), help="names, with commas: all of them without")
    parser.add_argument("--no-log", action="store_true", help="print only")
    options = parser.parse_args()
    if unknown := [name for name in options.rows or [] if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}: there are {', '.join(ROWS)}")
    if options.data is not None and (lacking := data.missing(options.data)):
        parser.error(f"{options.data} has no {', no '.join(lacking)}")
    needing = [name for name in options.rows or ROWS if options.data is None and ROWS[name].needs_data]
    if needing:
        print(
            f"{', '.join(needing)}: not measured without the question data; give the folder that has {data.STREAM}, {data.NEAR}"
            f" and {data.PAIRS},\n    make bench-cache DATA=FOLDER [ROWS={needing[0]}]",
            file=sys.stderr,
        )
    options.rows = [name for name in options.rows or ROWS if name not in needing]
    if not options.rows:
        sys.exit(2)
    return options


if __name__ == "__main__":
    sys.exit(main())
