"""`make attack`: the whole counts, and a table of what held. Status 1 if anything did not hold.

Everything runs in homes of its own on this machine; nothing leaves loopback.
"""

import argparse
import random
import sys
import time

from tests.attack.attack import Result, play
from tests.attack.registry import attacks

SHOWN = 20
"""Lines of what did not hold, per attack."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make attack")
    parser.add_argument("--rows", default="", help="surfaces or attacks, separated by commas")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--part", action="store_true", help="a twentieth, as in `make test`")
    asked = parser.parse_args()
    try:
        chosen = attacks(asked.rows)
    except LookupError as error:
        print(error, file=sys.stderr)
        return 2
    seed = random.SystemRandom().randrange(2**32) if asked.seed is None else asked.seed
    print(f"SEED={seed}", flush=True)
    results = []
    for surface, attack in chosen:
        start = time.monotonic()
        result = play(surface, attack, seed, whole=not asked.part)
        results.append(result)
        print(f"{surface}: {attack.name}: {result.verdict} ({time.monotonic() - start:.0f} s)", flush=True)
        for line in result.trial.fell[:SHOWN]:
            print(f"    {line}", flush=True)
    print()
    for row in table(results):
        print(row)
    return 1 if any(not result.held for result in results) else 0


def table(results: list[Result]) -> list[str]:
    """The result, a line for each attack."""
    rows = [("surface", "attack", "count", "", "measured")]
    for each in results:
        count = f"{each.trial.count:,}"
        rows.append((each.surface, each.attack.name, count, each.verdict, ", ".join(each.trial.measured)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        f"{row[0]:<{widths[0]}} | {row[1]:<{widths[1]}} | {row[2]:>{widths[2]}} | {row[3]:<{widths[3]}} | {row[4]}".rstrip(
            " |"
        )
        for row in rows
    ]


if __name__ == "__main__":
    sys.exit(main())
