"""`make bench-torch`: eight asks of a transformers folder at once against the same eight in turn, on a model that has to compute.

The model is a random Llama that is written here; with random weights it never ends before it must.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests import tiny_llama
from tests.bench import log
from tests.bench.measure import Number, spread
from tests.e2e.house import House, Outcome, house, until

MILLIONS: dict[str, Any] = {"hidden": 768, "layers": 12, "vocabulary": 8000, "context": 1024, "spread": 0.02}
"""About 76 million weights."""
TOKENS = 32
PROMPTS = [f"the number {number} stands in the river, and why is the sky blue?" for number in range(8)]


def measure(home: House, rounds: int) -> list[Number]:
    """In turn and together by turns, so that whatever else the machine does falls on both alike."""
    ask(home, "warm up")
    times: dict[str, list[float]] = {"in turn": [], "at once": []}
    for _ in range(rounds):
        times["in turn"].append(timed(lambda: [ask(home, prompt) for prompt in PROMPTS]))
        times["at once"].append(timed(lambda: at_once(home)))
    busy = watched(home)
    one, other = times["in turn"], times["at once"]
    ratio = statistics.median(together / single for single, together in zip(one, other, strict=True))
    numbers = [
        Number(f"eight asks of {TOKENS} tokens {how}", statistics.median(found), "s", note=spread(found))
        for how, found in times.items()
    ]
    return [
        *numbers,
        Number("... at once against in turn", ratio, "times", 0.6),
        Number("requests in the engine together, seen in `ps`", busy, ""),
    ]


def ask(home: House, prompt: str) -> Outcome:
    outcome = home.ok(*words(prompt))
    assert outcome.last["usage"]["completion_tokens"] == TOKENS, outcome.last["usage"]
    return outcome


def at_once(home: House) -> None:
    commands = [home.spawn(*words(prompt)) for prompt in PROMPTS]
    for command in commands:
        outcome = command.end()
        assert (outcome.status, outcome.last["usage"]["completion_tokens"]) == (0, TOKENS), outcome


def watched(home: House) -> int:
    commands = [home.spawn(*words(prompt)) for prompt in PROMPTS]
    busy = until(lambda: (seen := home.busy("t")) > 1 and seen)
    for command in commands:
        command.end()
    return int(busy)


def words(prompt: str) -> tuple[str, ...]:
    return (
        "ask",
        "-m",
        "t",
        prompt,
        "--no-cache",
        "--temperature",
        "0",
        "--max-tokens",
        str(TOKENS),
        "--json",
        "--no-stream",
    )


def timed(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-log", action="store_true", help="print only")
    options = parser.parse_args()
    with TemporaryDirectory() as folder, house() as home:
        tiny_llama.write(Path(folder) / "llama", **MILLIONS)
        home.ok(
            "models",
            "add",
            "t",
            Path(folder) / "llama",
            "--set=slots=8",
            "--set=device=cpu",
            f"--set=threads={os.cpu_count()}",
        )
        table = log.table(number.row() for number in measure(home, options.rounds))
    print(table)
    if not options.no_log:
        log.append(table, ", a transformers folder of 76 million weights, float32 on the CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
