"""Makes a llama.cpp context: estimates the memory of a shape, creates it, and measures what it takes.

It knows no requests. fit.py decides which shape fits; weights.py has placed the weights before.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as lib

from llmctld.engine.drafts.speculation import ROWS
from llmctld.engine.errors import LoadError
from llmctld.engine.fit import MemoryNeeds, Shape, fit, notice
from llmctld.engine.llama.cells import KV_TYPES, cell_bytes, reuses, wanted_shape, window_cells
from llmctld.engine.llama.internals.native_log import NativeLog
from llmctld.engine.llama.internals.pages import anonymous_mappings, give_back_zeros
from llmctld.engine.llama.weights import Weights, check_positions
from llmctld.engine.messages import Load, Loaded

PROBE = 512
"""Context in tokens for measuring sizes."""


class DraftContext(NamedTuple):
    """A draft model beside the main one. `reshape` gives its context the main model's shape, and lets the main model's log
    record what that takes."""

    weights: Weights
    needs: MemoryNeeds
    reshape: Callable[[Shape], None]


class Made(NamedTuple):
    """A context, and what is reported about it. `stream_bytes`: what a stream copy moves."""

    context: Any
    stream_bytes: int
    loaded: Loaded


def uses_ngrams(load: Load, model: Any) -> bool:
    """Whether chunks may carry drafts from the text: rejected tokens can be removed, and speculation is on."""
    return reuses(model) and load.speculation == "ngram"


def output_rows(load: Load, model: Any, shape: Shape) -> int:
    """Rows of logits: one per stream, plus drafts. 512 rows of 150,000 would take 300 MB."""
    return shape.streams + (ROWS if uses_ngrams(load, model) else 0)


def new_context(model: Any, load: Load, shape: Shape, log: NativeLog) -> Any:
    """Raises LoadError with the library's reason."""
    parameters = lib.llama_context_default_params()
    parameters.n_ctx = shape.cells
    parameters.n_seq_max = shape.streams
    parameters.n_batch = max(load.batch, shape.slots)
    parameters.n_ubatch = parameters.n_batch
    parameters.n_outputs_max = output_rows(load, model, shape)
    parameters.kv_unified = False
    parameters.swa_full = False  # window layers keep the window plus one step
    parameters.n_threads = parameters.n_threads_batch = load.threads
    parameters.type_k = parameters.type_v = KV_TYPES[load.kv_type][0]
    if load.kv_type.startswith("q"):
        parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED  # required for a quantised V
    elif load.flash_attention is not None:
        parameters.flash_attn_type = int(load.flash_attention)
    context = lib.llama_init_from_model(model, parameters)
    if not context:
        raise LoadError(
            f"{load.name}: llama.cpp cannot allocate {shape.slots} slots of {shape.context} tokens "
            f"({load.kv_type}): {log.first_error or 'no reason given'}",
            "Set a smaller `context`, fewer `slots`, or another `kv_type` for this model.",
        )
    return context


def make_context(load: Load, weights: Weights, log: NativeLog, draft: DraftContext | None = None) -> Made:
    """Estimate, create, measure; on an underestimate (compute buffers) raise the cell size and try again. Raises LoadError."""
    model = weights.model
    own: int = lib.llama_model_n_ctx_train(model)
    check_positions(load, load.context or 0, own)
    cells = _cells(load, model, log)
    memory = weights.needs(cells) if draft is None else weights.needs(cells).beside(draft.needs)
    name = f"{load.name} with its draft" if draft else load.name
    wanted = wanted_shape(load, model, weights.plan.retained)
    before = anonymous_mappings()
    while True:
        shape = fit(name, wanted, memory)
        log.clear()
        context = new_context(model, load, shape, log)
        if draft is not None:
            draft.reshape(shape)
        total = memory.fixed + weights.buffers(log)
        if total <= load.memory_bytes:
            break
        lib.llama_free(context)
        memory = memory.corrected(shape, total)
    if not weights.plan.gpus:  # a device may hold addresses of pages shared with the host
        give_back_zeros(before)
    notices = [notice(name, wanted, shape, memory)] if shape != wanted else []
    if shape.context > own:
        notices.append(f"{load.name}: a context of {shape.context} is more than the {own} the model was trained with")
    loaded = Loaded(
        backend="llama.cpp",
        context=shape.context,
        slots=shape.slots,
        retained=shape.retained,
        memory_bytes=total,
        notices=notices,
    )
    weights.report(loaded, log, *([draft.weights] if draft else []))
    return Made(context, cells.stream(shape), loaded)


def _cells(load: Load, model: Any, log: NativeLog) -> MemoryNeeds:
    """Bytes per cell. With sliding windows, measured on a small context: the library does not tell which layers have a
    window."""
    if reuses(model) and (looks := lib.llama_model_n_swa(model)):
        log.clear()
        lib.llama_free(new_context(model, load, Shape(1, PROBE), log))
        if len(log.caches) == 2 and all(cells == PROBE for _, cells in log.caches):
            (whole, _), (near, _) = log.caches
            window = window_cells(looks, max(load.batch, load.slots), 2**31)
            return MemoryNeeds(load.memory_bytes, 0, whole // PROBE, near // PROBE, window)
    return MemoryNeeds(load.memory_bytes, 0, cell_bytes(model, load.kv_type))
