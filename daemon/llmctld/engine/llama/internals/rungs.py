"""The ladder of safer load options for models that crash the library: what each rung changes and costs.

The hub remembers which rung a model uses.
"""

from typing import NamedTuple

import msgspec

from llmctld.engine.messages import Load


class Rung(NamedTuple):
    """`extra`: the library may use special layouts and kernels of this processor. `repacked`: it may use those that run on any
    processor. `flash`: flash attention is allowed. `without`: what is missing. `cost`: what that costs."""

    name: str
    extra: bool = True
    repacked: bool = True
    flash: bool = True
    without: str = ""
    cost: str = ""


LADDER = (
    Rung("as it is"),
    Rung(
        "no AMX", extra=False, without="the processor's own matrix kernels",
        cost="prompts and answers may take 1.5 to 2.8 times as long",
    ),
    Rung(
        "no extra buffers", extra=False, repacked=False, without="any special matrix kernels",
        cost="prompts and answers may take 1.5 to 4 times as long",
    ),
    Rung(
        "no flash attention", extra=False, repacked=False, flash=False,
        without="any special matrix kernels and without flash attention",
        cost="prompts and answers may take 1.5 to 4 times as long, and a quantised `kv_type` is not possible",
    ),
)  # fmt: skip
NAMES = [rung.name for rung in LADDER]


def rung_of(load: Load) -> Rung:
    """The rung of a model."""
    return LADDER[NAMES.index(load.rung)]


def with_rung(load: Load) -> Load:
    """The load settings as changed by the rung. The layout of weights is up to repack.py."""
    if rung_of(load).flash:
        return load
    kv_type = "f16" if load.kv_type.startswith("q") else load.kv_type  # a quantised V requires it
    return msgspec.structs.replace(load, flash_attention=False, kv_type=kv_type)
