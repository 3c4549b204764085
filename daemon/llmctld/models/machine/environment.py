"""What an engine finds in its environment beside what the hub was started with: how threads wait for each other.

It knows variables that libraries read when they are loaded; what an engine decides while it runs is its own.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Variable(NamedTuple):
    """`value` is set unless the user has set this variable, or one of `unless`, which say the same in other words."""

    name: str
    value: str
    unless: tuple[str, ...]


VARIABLES = (
    # libgomp (llama.cpp and torch on Linux, each with its own copy): turns of a loop that a thread waits at a barrier before it
    # sleeps. A step has hundreds of barriers. By default it is 300,000 turns, about 3 ms: who waits so for a thread that
    # another program has put aside keeps a processor from both, and decoding falls to a tenth or less. 1,000 turns are
    # longer than a barrier takes when nobody is in the way, so a quiet machine is as fast (tests/bench/LOG.md). With `passive`
    # threads sleep at once, which costs a third to a half of a quiet machine.
    Variable("GOMP_SPINCOUNT", "1000", ("OMP_WAIT_POLICY",)),
)
"""Not here, since it was tried and gains nothing (docs/decisions.md): KMP_BLOCKTIME of LLVM's and Intel's libomp (torch on
macOS), which gives way by itself where others want the processors. Without OpenMP (llama.cpp on macOS) threads spin without
an end, and nothing can be set: there only fewer threads help (engine/cost/threads.py)."""


def for_engine(hub: Mapping[str, str]) -> dict[str, str]:
    """The environment of an engine whose hub has that one."""
    ours = {
        variable.name: variable.value
        for variable in VARIABLES
        if not any(name in hub for name in (variable.name, *variable.unless))
    }
    return dict(hub) | ours
