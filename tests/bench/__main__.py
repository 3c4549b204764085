"""`make bench [MODEL=FILE.gguf]`: prints every number with its target, and appends them to tests/bench/LOG.md, negatives too."""

import argparse
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.bench import bench_client, bench_hub
from tests.e2e.house import REPOSITORY, house

LOG = Path(__file__).with_name("LOG.md")
HEAD = """# Measurements
Appended by `make bench`, newest last; what missed its target stays. Times depend on the machine and on what else runs there:
compare ratios, and runs of one day.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--model", type=Path, help="a GGUF file for the time to the first token")
    parser.add_argument("--runs", type=int, default=40, help="runs of each command")
    parser.add_argument("--no-log", action="store_true", help="print only")
    options = parser.parse_args()
    if options.model is not None and not options.model.is_file():
        parser.error(f"{options.model} is no file")
    with house() as home:
        home.echo()
        numbers = bench_client.measure(home, options.runs) + bench_hub.measure(home, options.runs)
        if options.model is None:
            print("make bench MODEL=FILE.gguf measures the time to the first token, too", file=sys.stderr)
        else:
            numbers += bench_hub.first_token(home, options.model.absolute(), options.runs)
    table = "\n".join(["| what | measured | target | |", "|---|---|---|---|", *(number.row() for number in numbers)])
    print(table)
    if not options.no_log:
        append(table)
    return 0


def append(table: str) -> None:
    if not LOG.exists():
        LOG.write_text(HEAD, encoding="utf-8")
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"\n## {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, {where()}\n{table}\n")


def where() -> str:
    """Commit and machine, without its name."""
    git = ["git", "-C", str(REPOSITORY)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = subprocess.run(
        [*git, "status", "--porcelain"], capture_output=True, text=True, check=False
    ).stdout.strip()
    load = os.getloadavg()[0]
    return (
        f"{commit or 'no commit'}{' and changes' if changed else ''}; {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())
