"""Finds out which of llama.cpp's kernels crash on this machine or compute wrong numbers, and says what that costs.

A child runs the trials (engine/llama/internals/kernels.py), since a broken kernel ends its process. After a crash another child
goes on with the next trial.
"""

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from llmctl.interpreter import code, module
from llmctld.models.machine.build import version
from llmctld.native.tile_config import has_amx, needed, rebuild
from llmctld.runtime.exit_status import exit_name

PLAIN = "plain"
LIMIT_S = 120.0
COSTS = {
    "AMX": "models run without them, and prompts and answers take 1.5 to 2.8 times as long",
    "CPU_REPACK": "models run without them; prompts take about 1.4 times, answers 1.1 times as long",
    PLAIN: "a model with such weights cannot be loaded",
}
"""Kind of buffer -> the effect of broken kernels for it, measured with Q4_0, Q8_0 and Q4_K_M files."""
FEATURES = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
AMX = "AMX_INT8 = 1"
"""How the library says that it was built with AMX."""
OTHER = "models run without them, and slower"


class KernelResult(NamedTuple):
    """The result of one trial. `verdict`: `good`, `wrong` (numbers), or the name of the signal that ended the child."""

    buffers: str
    type: str
    verdict: str


class KernelReport(NamedTuple):
    """One kind of buffer: the types of weights with good and broken kernels, the effect, and the command that repairs them."""

    buffers: str
    good: list[str]
    broken: list[str]
    cost: str
    repair: str


def lacks_amx() -> bool:
    """Whether the processor has AMX and the library was built without it, as ready-made packages are. False if the library
    cannot be loaded, which another check reports.
    """
    if not has_amx():
        return False
    built = features()
    return bool(built) and AMX not in built


def features() -> str:
    """What the library was built with; empty if it cannot be loaded."""
    done = subprocess.run(
        code(FEATURES),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=LIMIT_S,
        cwd="/",
    )
    return done.stdout if done.returncode == 0 else ""


def outcomes() -> Iterator[KernelResult]:
    """The outcome of every trial; empty if the library cannot be loaded, which another check reports."""
    done = 0
    while True:
        said, ending = _run(done)
        words = [line.split(" ") for line in said.splitlines()]
        for buffers, type, *verdict in words:
            yield KernelResult(buffers, type, verdict[0] if verdict else ending)
        done += len(words)
        if not words or len(words[-1]) == 3:  # it finished, or died outside a trial
            return


def _run(skip: int) -> tuple[str, str]:
    """The child's output and how it ended."""
    command = module("llmctld.engine.llama.internals.kernels", str(skip))
    try:
        child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S, cwd="/")
    except subprocess.TimeoutExpired as slow:
        return (slow.stdout or b"").decode(errors="replace"), "does not end"
    return child.stdout, exit_name(child.returncode)


def reports() -> list[KernelReport]:
    """One report per kind of buffer."""
    found: dict[str, list[KernelResult]] = defaultdict(list)
    for outcome in outcomes():
        found[outcome.buffers].append(outcome)
    return [_report(buffers, tried) for buffers, tried in found.items()]


def _report(buffers: str, tried: list[KernelResult]) -> KernelReport:
    broken = [f"{it.type} ({it.verdict})" for it in tried if it.verdict != "good"]
    good = [it.type for it in tried if it.verdict == "good"]
    repair = rebuild(version(), header=buffers == "AMX") if broken else ""
    return KernelReport(buffers, good, broken, COSTS.get(buffers, OTHER) if broken else "", repair)


def build_with_amx() -> str:
    """The command that builds the library with AMX."""
    return rebuild(version(), header=needed())
