"""Which of llama.cpp's kernels are broken on this machine, as a child finds out that may die of them; and what that costs.

It knows how to ask the child again behind a trial that ended it; the trials are engine/llama/library/kernels.py's.
"""

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from llmctl.interpreter import module
from llmctld.models.machine.build import version
from llmctld.native.tile_config import rebuild
from llmctld.signals import named

PLAIN = "plain"
LIMIT_S = 120.0
COSTS = {
    "AMX": "models run without them, prompts and answers 1.5 to 2.8 times as long as they could",
    "CPU_REPACK": "models run without them, prompts about 1.4 times and answers 1.1 times as long as they could",
    PLAIN: "a model with such weights cannot be loaded",
}
"""Kind of buffer -> what it costs that its kernels are broken (measured with Q4_0, Q8_0 and Q4_K_M files)."""
OTHER = "models run without them, and slower than they could"


class Outcome(NamedTuple):
    """What came of a trial: `good`, `wrong` numbers, or the name of the signal that ended it."""

    buffers: str
    type: str
    verdict: str


class Verdict(NamedTuple):
    """On the kernels of one kind of buffer: which types work; which do not, and why; what to do where that matters."""

    buffers: str
    good: list[str]
    broken: list[str]
    cost: str
    repair: str


def outcomes() -> Iterator[Outcome]:
    """Of every trial; none where the library cannot be loaded at all, which others find out."""
    done = 0
    while True:
        said, ending = _run(done)
        words = [line.split(" ") for line in said.splitlines()]
        for buffers, type, *verdict in words:
            yield Outcome(buffers, type, verdict[0] if verdict else ending)
        done += len(words)
        if not words or len(words[-1]) == 3:  # it ended by itself, or not in a trial
            return


def _run(skip: int) -> tuple[str, str]:
    """What the child said, and how it ended."""
    command = module("llmctld.engine.llama.library.kernels", str(skip))
    try:
        child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S, cwd="/")
    except subprocess.TimeoutExpired as slow:
        return (slow.stdout or b"").decode(errors="replace"), "does not end"
    return child.stdout, named(child.returncode)


def verdicts() -> list[Verdict]:
    """For each kind of buffer."""
    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes():
        found[outcome.buffers].append(outcome)
    return [_verdict(buffers, tried) for buffers, tried in found.items()]


def _verdict(buffers: str, tried: list[Outcome]) -> Verdict:
    broken = [f"{it.type} ({it.verdict})" for it in tried if it.verdict != "good"]
    good = [it.type for it in tried if it.verdict == "good"]
    repair = rebuild(version(), header=buffers == "AMX") if broken else ""
    return Verdict(buffers, good, broken, COSTS.get(buffers, OTHER) if broken else "", repair)
