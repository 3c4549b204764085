"""The KV memory of a llama.cpp model: types, bytes per cell, and the wanted shape.

fit.py decides how much of it fits.
"""

from typing import Any

import llama_cpp.llama_cpp as lib

from llmctl.config import CONTEXT_CAP
from llmctld.engine.errors import LoadError
from llmctld.engine.fit import CELLS, Shape
from llmctld.engine.messages import Load

KV_TYPES: dict[str, tuple[int, float]] = {
    "f32": (lib.GGML_TYPE_F32, 4),
    "f16": (lib.GGML_TYPE_F16, 2),
    "bf16": (30, 2),
    "q8_0": (lib.GGML_TYPE_Q8_0, 34 / 32),
    "q5_1": (lib.GGML_TYPE_Q5_1, 24 / 32),
    "q5_0": (lib.GGML_TYPE_Q5_0, 22 / 32),
    "q4_1": (lib.GGML_TYPE_Q4_1, 20 / 32),
    "q4_0": (lib.GGML_TYPE_Q4_0, 18 / 32),
}
"""Setting -> (ggml type number, bytes per value). The binding has no name for bf16."""


def reuses(model: Any) -> bool:
    return not (lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))


def wanted_shape(load: Load, model: Any, retained: int | None = None) -> Shape:
    """`retained`: default number of retained streams; on a GPU as many as fit, if that is known."""
    own: int = lib.llama_model_n_ctx_train(model)
    most = load.retained if retained is None else retained
    return Shape(load.slots, load.context or min(own, CONTEXT_CAP), most if reuses(model) else 0)


def window_cells(window: int, batch: int, context: int) -> int:
    """Cells of a stream in sliding-window layers: the window plus what one step computes, at most `context`."""
    return min(context, -(-(window + batch) // CELLS) * CELLS) if window else context


def cell_bytes(model: Any, kv_type: str) -> int:
    """Bytes of K and V for one token over all layers."""
    heads: int = lib.llama_model_n_head(model)
    width = lib.llama_model_n_embd(model) / max(heads, 1) * lib.llama_model_n_head_kv(model)
    return int(2 * width * lib.llama_model_n_layer(model) * KV_TYPES[kv_type][1])


def check_kv_type(load: Load) -> None:
    """Raises LoadError."""
    if load.kv_type not in KV_TYPES:
        raise LoadError(f"{load.name}: kv_type is {load.kv_type!r}, but must be one of {', '.join(KV_TYPES)}")
