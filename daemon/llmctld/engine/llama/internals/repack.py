"""Chooses the tensors to repack for fast kernels when not all special kernels may be used.

Asks the library, tensor by tensor, what it can multiply. Reads no weights.
"""

import ctypes
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from llmctld.engine.llama.internals import ggml, rungs
from llmctld.engine.llama.internals.offload import split_files
from llmctld.engine.messages import Load

REPACK = "CPU_REPACK"
"""The buffer type whose kernels run on every processor that the library was built for."""
MATRIX = re.compile(r"blk\.(\d+)\.((?:attn|ffn|ssm_in|ssm_out)[\w.]*)\.weight|(output)\.weight")
"""Names of tensors that are multiplied; others may be read row by row."""


class Override(ctypes.Structure):
    """llama_model_tensor_buft_override: tensors whose name matches use that buffer type. A NULL ends the list."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffers", ctypes.c_void_p))


def set_weight_layout(parameters: Any, load: Load, on_gpu: bool) -> object:
    """Set the layout of the weights for the rung. Keep the result alive until the library has read the file. With layers
    `on_gpu`, no override is set: it would move the tensor to the CPU."""
    rung = rungs.rung_of(load)
    if rung.extra:
        return None
    parameters.use_extra_bufts = False
    if not rung.repacked or on_gpu or (buffers := ggml.extra_buffers().get(REPACK)) is None:
        return None
    patterns = grouped(name for part in split_files(load.path) for name in repackable(part, buffers))
    named = (Override * (len(patterns) + 1))(*(Override(pattern.encode(), buffers) for pattern in patterns))
    parameters.tensor_buft_overrides = ctypes.addressof(named)
    return named


def repackable(path: str, buffers: int) -> Iterable[str]:
    """Names of tensors with a fast kernel in such buffers; experts are stacked and use kernels of their own."""
    for name, kind, shape in ggml.tensors(path):
        deep = len(shape) == 3 and "_exps" in name
        if MATRIX.fullmatch(name) and (len(shape) == 2 or deep) and ggml.multiplies(kind, shape, buffers, deep):
            yield name


def grouped(names: Iterable[str]) -> list[str]:
    """A few patterns that match exactly these names: the library evaluates every pattern for every tensor."""
    layers: dict[str, set[str]] = defaultdict(set)
    for name in names:
        if found := MATRIX.fullmatch(name):
            layers[found[2] or ""].add(found[1] or "")
    together: dict[frozenset[str], list[str]] = defaultdict(list)
    for what, numbers in layers.items():
        together[frozenset(numbers)].append(re.escape(what))
    return [
        rf"^blk\.({'|'.join(sorted(numbers, key=int))})\.({'|'.join(whats)})\.weight$"
        if whats != [""]
        else r"^output\.weight$"
        for numbers, whats in together.items()
    ]
