"""`make bench [MODEL=FILE.gguf]`: prints every number with its target, and appends them to tests/bench/LOG.md, negatives too."""

import argparse
import sys
from pathlib import Path

from tests.bench import bench_client, bench_embed, bench_gpu, bench_hub, bench_remote, bench_suggest, log
from tests.e2e.house import house


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
        numbers += bench_client.guide(options.runs) + bench_embed.measure(home) + bench_remote.measure(home)
        if options.model is None:
            print("make bench MODEL=FILE.gguf measures the time to the first token, too", file=sys.stderr)
        else:
            numbers += bench_hub.first_token(home, options.model.absolute(), options.runs)
            numbers += bench_gpu.measure(home, options.model.absolute())
            numbers += bench_suggest.measure(home, options.model.absolute())
    table = log.table(number.row() for number in numbers)
    print(table)
    if not options.no_log:
        log.append(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
