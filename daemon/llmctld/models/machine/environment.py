"""Environment variables for engines: how their threads wait for each other.

Knows variables that libraries read when they are loaded; settings made at run time are the engine's.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Variable(NamedTuple):
    """A variable that is set unless the user has set it or one of `unless`, which have the same effect."""

    name: str
    value: str
    unless: tuple[str, ...]


VARIABLES = (
    # libgomp (llama.cpp and torch on Linux, each with its own copy): iterations that a thread spins at a barrier
    # before it sleeps. A step has hundreds of barriers. The default is 300,000, about 3 ms: if another program has
    # preempted the awaited thread, the spinning one occupies a core that both need, and decoding drops to a tenth or
    # less. 1,000 iterations are longer than an undisturbed barrier, so a quiet machine is as fast
    # (tests/bench/LOG.md). `passive` puts threads to sleep at once, which costs a third to a half of the speed.
    Variable("GOMP_SPINCOUNT", "1000", ("OMP_WAIT_POLICY",)),
)
"""Tried without gain (docs/decisions.md): KMP_BLOCKTIME for the libomp of LLVM and Intel (torch on macOS), which
yields by itself under load. Without OpenMP (llama.cpp on macOS) threads spin forever and no variable changes that;
only fewer threads help (engine/cost/threads.py).
"""


def for_engine(hub: Mapping[str, str]) -> dict[str, str]:
    """The environment of an engine, from the hub's."""
    ours = {
        variable.name: variable.value
        for variable in VARIABLES
        if not any(name in hub for name in (variable.name, *variable.unless))
    }
    return dict(hub) | ours
