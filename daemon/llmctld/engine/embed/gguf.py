"""An embedding model in a GGUF file, computed by llama.cpp: several texts per call, one vector each."""

from collections.abc import Sequence
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from llmctl.config import CONTEXT_CAP
from llmctld.engine.core.step_threads import step
from llmctld.engine.cost.threads import Threads
from llmctld.engine.embed.loop import Reading, Vectors, too_long, unknown_prompt
from llmctld.engine.errors import LoadError
from llmctld.engine.fit import Shape, mebibytes
from llmctld.engine.llama.batch import Batch
from llmctld.engine.llama.internals.native_log import NativeLog
from llmctld.engine.llama.reader import GgufReader
from llmctld.engine.llama.vocabulary import Vocabulary
from llmctld.engine.llama.weights import read_weights
from llmctld.engine.messages import Load, Loaded

POOLINGS = {
    "mean": lib.LLAMA_POOLING_TYPE_MEAN,
    "cls": lib.LLAMA_POOLING_TYPE_CLS,
    "last": lib.LLAMA_POOLING_TYPE_LAST,
}
UNNAMED = (lib.LLAMA_POOLING_TYPE_NONE, lib.LLAMA_POOLING_TYPE_UNSPECIFIED)
LITTLE = 5e8
"""Tokens times parameters of a batch that one thread computes: synchronising several would cost as much as they save, and more on
a busy machine."""


class GgufEmbedder:
    """Implements embed.Embedder."""

    def __init__(self, load: Load) -> None:
        self._log = NativeLog()
        self._weights = read_weights(load, self._log, lambda model: self._try_out(load, model))
        self._model = self._weights.model
        self._reader = GgufReader(Vocabulary(self._model))
        self._normalize = load.normalize is not False
        self._prompts = load.prompts
        self._threads = Threads(load.threads, load.fewer_threads and not self._weights.plan.layers)
        self._one = Threads(1)
        self._little = LITTLE / lib.llama_model_n_params(self._model)
        own: int = lib.llama_model_n_ctx_train(self._model)
        context = load.context or min(own, CONTEXT_CAP)
        self.batch_tokens = max(load.batch, context)
        if context > own:  # most have a position table, which must not be exceeded
            message = f"{load.name}: `context` is {context}, but {load.path} has only {own} positions"
            raise LoadError(message, "Set a smaller `context`.")
        notices = []
        pooling = POOLINGS[load.pooling] if load.pooling else lib.LLAMA_POOLING_TYPE_UNSPECIFIED
        self._context = self._make_context(self._model, load, pooling)
        if lib.llama_pooling_type(self._context) in UNNAMED:
            lib.llama_free(self._context)
            self._context = self._make_context(self._model, load, lib.LLAMA_POOLING_TYPE_MEAN)
            notices.append(
                f"{load.name}: its file names no pooling, so mean is used (the setting `pooling` changes it)"
            )
        self._memory = lib.llama_get_memory(self._context)
        self._batch = Batch(self.batch_tokens)
        self._dimension: int = lib.llama_model_n_embd_out(self._model)
        used = self._weights.host + self._weights.buffers(self._log)
        if used > load.memory_bytes:
            message = f"{load.name} does not fit in memory: it needs {mebibytes(used)}, "
            hint = "Unload another model, or set a smaller `context` or `batch` for this one."
            raise LoadError(message + f"but may use only {mebibytes(load.memory_bytes)}", hint)
        self.loaded = Loaded(
            backend="llama.cpp", context=context, slots=load.slots, memory_bytes=used, dimension=self._dimension,
            notices=notices,
        )  # fmt: skip
        self._weights.report(self.loaded, self._log)

    def read(self, text: str, prompt: str | None) -> Reading:
        if prompt is not None and prompt not in self._prompts:
            raise unknown_prompt(prompt, list(self._prompts))
        rendered = self._reader.markers.typed(text, "" if prompt is None else self._prompts[prompt])
        tokens = self._reader.text_tokens(rendered)
        if len(tokens) > self.loaded.context:
            raise too_long(len(tokens), self.loaded.context)
        return Reading(rendered.text, tokens)

    def embed(self, readings: Sequence[Reading]) -> Vectors:
        self._batch.fill_texts([reading.tokens for reading in readings])
        if self._memory:  # a decoder keeps its KV; each batch starts empty
            lib.llama_memory_clear(self._memory, True)
        tokens: int = self._batch.struct.n_tokens
        threads = self._one if tokens <= self._little else self._threads
        if (status := step(threads, self._use, 1, tokens, self._compute)) != 0:
            raise RuntimeError(f"llama.cpp returned {status} for {tokens} tokens")
        vectors: Vectors = np.stack([self._vector(index) for index in range(len(readings))])
        if self._normalize:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def _use(self, threads: int) -> None:
        lib.llama_set_n_threads(self._context, threads, threads)

    def _compute(self) -> int:
        status: int = (lib.llama_decode if self._memory else lib.llama_encode)(self._context, self._batch.struct)
        return status

    def _vector(self, stream: int) -> Vectors:
        pointer = lib.llama_get_embeddings_seq(self._context, stream)
        vector: Vectors = np.ctypeslib.as_array(pointer, (self._dimension,)).copy()
        return vector

    def _try_out(self, load: Load, model: Any) -> tuple[Any, Shape]:
        own: int = lib.llama_model_n_ctx_train(model)
        self.batch_tokens = max(load.batch, min(load.context or CONTEXT_CAP, own))
        return self._make_context(model, load, lib.LLAMA_POOLING_TYPE_MEAN), Shape(1, self.batch_tokens)

    def _make_context(self, model: Any, load: Load, pooling: int) -> Any:
        """A text is computed in one piece, since each of its tokens may attend to every other."""
        self._log.clear()
        parameters = lib.llama_context_default_params()
        parameters.embeddings = True
        parameters.pooling_type = pooling
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = self.batch_tokens
        parameters.n_seq_max = load.slots
        parameters.kv_unified = True
        parameters.n_threads = parameters.n_threads_batch = load.threads
        if load.flash_attention is not None:
            parameters.flash_attn_type = int(load.flash_attention)
        context = lib.llama_init_from_model(model, parameters)
        if not context:
            reason = self._log.first_error or "no reason given"
            raise LoadError(f"{load.name}: llama.cpp cannot embed {self.batch_tokens} tokens at once: {reason}",
                            "Set a smaller `context` or `batch` for this model.")  # fmt: skip
        return context
