"""Which of a file's tensors the library lays out anew for fast kernels, where not all of its kernels may be used.

It knows the library's kinds of buffers and asks it, tensor by tensor, what it can multiply; it reads no weights.
"""

import ctypes
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from llmctld.engine.llama.library import ggml, rungs
from llmctld.engine.llama.library.offload import parts
from llmctld.engine.messages import Load

REPACK = "CPU_REPACK"
"""The kind of buffer whose kernels run on every processor that the library was built for."""
MATRIX = re.compile(r"blk\.(\d+)\.((?:attn|ffn|ssm_in|ssm_out)[\w.]*)\.weight|(output)\.weight")
"""Tensors that are multiplied with, by the library's names; any other may be read row by row."""


class Override(ctypes.Structure):
    """llama_model_tensor_buft_override: tensors whose name matches lie in that kind of buffer. A NULL ends the list."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffers", ctypes.c_void_p))


def place(parameters: Any, load: Load, on_gpu: bool) -> object:
    """Sets how the weights may lie, as the rung says; what is returned must live until the library has read the file.

    With layers `on_gpu` nothing is named: a name would take its tensor to the processor.
    """
    rung = rungs.of(load)
    if rung.extra:
        return None
    parameters.use_extra_bufts = False
    if not rung.repacked or on_gpu or (buffers := ggml.extra_buffers().get(REPACK)) is None:
        return None
    patterns = grouped(name for part in parts(load.path) for name in repackable(part, buffers))
    named = (Override * (len(patterns) + 1))(*(Override(pattern.encode(), buffers) for pattern in patterns))
    parameters.tensor_buft_overrides = ctypes.addressof(named)
    return named


def repackable(path: str, buffers: int) -> Iterable[str]:
    """Names of the tensors that have a fast kernel in such buffers; experts lie three deep, and are multiplied their own way."""
    for name, kind, shape in ggml.tensors(path):
        deep = len(shape) == 3 and "_exps" in name
        if MATRIX.fullmatch(name) and (len(shape) == 2 or deep) and ggml.multiplies(kind, shape, buffers, deep):
            yield name


def grouped(names: Iterable[str]) -> list[str]:
    """A few patterns that match these names alone: the library reads each of them anew for every tensor."""
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
