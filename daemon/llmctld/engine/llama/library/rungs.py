"""The ladder that a model goes down when the library dies of it: what each rung changes when the model is loaded.

It knows names, values and words for what a rung costs. Who stands on which rung is the hub's to remember.
"""

from typing import NamedTuple

import msgspec

from llmctld.engine.messages import Load


class Rung(NamedTuple):
    """`extra`: whether the library may lay weights out for the processor's special kernels, as it likes. `repacked`: whether
    those that need no such processor may be used. `flash`: whether attention may be computed in one go.

    `without` says what is missing, `cost` what that costs.
    """

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


def of(load: Load) -> Rung:
    """The rung that a model is loaded on."""
    return LADDER[NAMES.index(load.rung)]


def applied(load: Load) -> Load:
    """What the rung changes in what was asked for; what it changes in how the weights lie is repack.py's."""
    if of(load).flash:
        return load
    kv_type = "f16" if load.kv_type.startswith("q") else load.kv_type  # V cannot be quantised without it
    return msgspec.structs.replace(load, flash_attention=False, kv_type=kv_type)
