"""A model in a GGUF file, computed by llama.cpp through its C interface.

It knows streams, batches and the library's calls. The scheduler decides when to compute; the loop handles text.
"""

import ctypes
import mmap
import traceback
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
from numpy.typing import NDArray

from llmctld.engine.answer.sampling import SamplingDefaults
from llmctld.engine.core.draft_model import DraftModel
from llmctld.engine.core.step_threads import StepThreads
from llmctld.engine.errors import EXITS, Refusal
from llmctld.engine.fit import MemoryNeeds, Shape
from llmctld.engine.llama import draft_file as second
from llmctld.engine.llama.adapters import Adapters
from llmctld.engine.llama.batch import Batch
from llmctld.engine.llama.cells import cell_bytes, check_kv_type, reuses, wanted_shape, window_cells
from llmctld.engine.llama.context import DraftContext, make_context, new_context, output_rows, uses_ngrams
from llmctld.engine.llama.internals.native_log import NativeLog
from llmctld.engine.llama.reader import GgufReader
from llmctld.engine.llama.sampler import Sampler
from llmctld.engine.llama.vocabulary import Vocabulary
from llmctld.engine.llama.weights import check_kind, check_positions, metadata, read_weights
from llmctld.engine.messages import Load, Scored, Submit
from llmctld.engine.prompt.encode import encode
from llmctld.engine.prompt.prompt import Prompt
from llmctld.engine.prompt.systems import takes_later
from llmctld.engine.prompt.template import ChatTemplate
from llmctld.engine.sandbox.process import TemplateProcess
from llmctld.engine.streams.checkpoints import NO_WINDOW, Window
from llmctld.engine.streams.sequence import Chunk

SHORT = 4
"""A text that uses at most 1/SHORT of its stream is copied as a state."""
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
"""Memory for a state of megabytes, allocated at once: for 7 MiB this takes 3 ms, page by page 4 ms, with huge pages 14 ms."""


LOGITS = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(("llama_get_logits_ith", lib._lib))
"""The library's function, returning an address: a pointer object for each token would cost more than reading the address."""
REQUESTS_FAULT = (-1, 1)
"""Results of llama_decode for invalid tokens or positions, and for a full KV memory: errors of one request. Below -1 the
computation itself failed (include/llama.h)."""


class Gguf:
    """Implements backend.TextModel."""

    mixes = False
    """The library computes the streams of a batch in parts of equal length, and reads all weights for each part."""

    def __init__(self, load: Load) -> None:
        check_kv_type(load)
        self._context: Any = None
        self.window = NO_WINDOW
        scribe = (
            TemplateProcess() if load.speaks else None
        )  # first: the template process starts while the weights are read
        self._second = second.read(load, Gguf)  # before our own log: the library calls the newest log
        self._log = NativeLog()
        self._weights = read_weights(load, self._log, lambda model: self._try_out(load, model), self._draft_bytes(load))
        self._model = self._weights.model
        told = metadata(self._model)
        check_kind(load, told)
        self._vocabulary = Vocabulary(self._model)
        self._defaults = SamplingDefaults.named_by(told)
        source = load.template or told.get("tokenizer.chat_template", "")
        own = {"bos_token": self._vocabulary.bos_text, "eos_token": self._vocabulary.eos_text}
        name = told.get("general.name", "")
        self._template = ChatTemplate(source, own | load.template_options, scribe, name) if source and scribe else None
        self._reader = GgufReader(self._vocabulary, source)
        self.reuses = reuses(self._model)
        self.drafts = uses_ngrams(load, self._model)
        unusable = self._check_second(load)
        self._context, self.stream_bytes, self.loaded = make_context(load, self._weights, self._log, self._draft(load))
        self.loaded.base = self._template is None
        self.loaded.system_later = self._template is None or takes_later(self._template.render)
        self.loaded.notices += unusable
        shape = Shape(self.loaded.slots, self.loaded.context, self.loaded.retained)
        self.streams, self.rows = shape.streams, output_rows(load, self._model, shape)
        self.window = self._window(max(load.batch, self.loaded.slots))
        self._memory = lib.llama_get_memory(self._context)
        self._batch = Batch(max(load.batch, self.loaded.slots))
        self._step_threads = StepThreads(load, self._weights.plan.layers > 0, self._use)
        self._threads = 0
        """Thread count last passed to the library; 0: none yet."""
        self._views: dict[int, NDArray[np.float32]] = {}
        """Address of a row of logits -> its array: making the array takes longer than reading the row."""
        self._samplers: dict[int, Sampler] = {}
        self._sources: set[int] = set()
        self._targets: set[int] = set()
        """Target streams of copies that are noted but not done."""
        self._adapters = Adapters(self._model)
        batch, words = max(load.batch, self.loaded.slots), self._vocabulary.size
        self.draft_model = DraftModel(self._second, self.streams, batch, words) if self._second else None

    def encode(self, submit: Submit) -> Prompt:
        reader = self._reader
        return encode(submit, self._template, self._vocabulary, reader.markers, reader.prompt, reader.prompt)

    @property
    def second(self) -> "Gguf | None":
        """The draft model, if there is one."""
        return self._second

    def tokens_of(self, text: str) -> list[int]:
        """Tokens of plain text."""
        return self._vocabulary.encode(text)

    def open(self, submit: Submit, prompt: Prompt) -> None:
        for adapter in submit.adapters:
            self._adapters.known(adapter)
        bias = {self._vocabulary.named(key): value for key, value in submit.logit_bias.items()}
        if submit.ignore_eos:
            bias |= dict.fromkeys(self._vocabulary.ends, float("-inf"))
        self._samplers[submit.id] = Sampler(submit, self._defaults, self._vocabulary, bias, prompt.tokens)

    def close(self, id: int) -> list[Scored] | None:
        sampler = self._samplers.pop(id)
        sampler.free()
        return sampler.scored

    def decode(self, chunks: list[Chunk]) -> list[list[int] | Refusal]:
        try:
            self._adapters.use(self._context, chunks[0].sequence.adapters)
        except Refusal as refusal:  # all chunks of a step have the same adapters
            return [refusal] * len(chunks)
        rows = self._batch.fill(chunks)
        if (status := self._step_threads.compute(chunks, self._decode)) != 0:
            return self._one_by_one(chunks, status)
        return [[] if row is None else self._sample(chunk, row) for chunk, row in zip(chunks, rows, strict=True)]

    def _one_by_one(self, chunks: list[Chunk], status: int) -> list[list[int] | Refusal]:
        """Compute the chunks of a failed batch one by one, to find the one at fault. Raises RuntimeError if none is: then the
        library is broken, and another process may do better."""
        outcomes = [self._alone(chunk) for chunk in chunks]
        if status not in REQUESTS_FAULT and all(isinstance(outcome, Refusal) for outcome in outcomes):
            raise RuntimeError(f"llama_decode returned {status} for {sum(chunk.count for chunk in chunks)} tokens")
        return outcomes

    def _alone(self, chunk: Chunk) -> list[int] | Refusal:
        lib.llama_memory_seq_rm(
            self._memory, chunk.stream, chunk.start, -1
        )  # remove what a part of the batch left there
        (row,) = self._batch.fill([chunk])
        self._log.first_error = ""
        if (status := self._step_threads.compute([chunk], self._decode)) != 0:
            lib.llama_memory_seq_rm(self._memory, chunk.stream, chunk.start, -1)
            reason = self._log.first_error or "no reason given"
            return Refusal("engine_failed", f"llama.cpp cannot compute this request (llama_decode: {status}): {reason}")
        return [] if row is None else self._sample(chunk, row)

    def logits(self, chunks: list[Chunk]) -> list[NDArray[np.float32] | None]:
        """Compute the chunks; logits for each that reaches the end of its sequence, valid until the next call.

        Tokens missing from this vocabulary are replaced: the main model may have more. On failure there are no logits: it is only
        a draft.
        """
        rows = self._batch.fill(chunks, self._vocabulary.size)
        if self._step_threads.compute(chunks, self._decode) != 0:
            return [None] * len(chunks)
        return [None if row is None else self._row(row) for row in rows]

    def _row(self, row: int) -> NDArray[np.float32]:
        """Logits of row `row` of the last batch, in the library's memory."""
        address: int = LOGITS(self._context, row)
        view = self._views.get(address)
        if view is None:
            first = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            view = self._views[address] = np.ctypeslib.as_array(first, (self._vocabulary.size,))
        return view

    def _use(self, threads: int) -> None:
        """Set the thread count if it changed: the library logs each call, and the log is a callback into Python."""
        if threads != self._threads:
            lib.llama_set_n_threads(self._context, threads, threads)
            self._threads = threads

    def _decode(self) -> int:
        """Decode the batch after the noted copies; 0 on success."""
        status: int = lib.llama_decode(self._context, self._batch.struct)
        if self._sources:
            self._sources, self._targets = set(), set()
        return status

    def _sample(self, chunk: Chunk, row: int) -> list[int] | Refusal:
        """Sample row after row while the draft matches: each token comes from the model's own distribution. Stops at an end
        token, after which a grammar allows nothing."""
        said: list[int] = []
        for drafted in (*chunk.draft, None):
            try:
                token = self._samplers[chunk.sequence.id].sample(
                    self._context, row + len(said), self._row(row + len(said))
                )
            except Refusal as refusal:
                return refusal
            except EXITS:
                raise
            except BaseException as error:  # noqa: BLE001 - a bug met by one request must not take the others down
                traceback.print_exc()
                return Refusal("internal", f"request {chunk.sequence.id}: {error!r}")
            said.append(token)
            if token != drafted or self.is_end(token):
                break
        if len(said) <= len(chunk.draft):
            lib.llama_memory_seq_rm(self._memory, chunk.stream, chunk.start + chunk.count + len(said) - 1, -1)
        return said

    def cut(self, stream: int, keep: int) -> bool:
        if keep and lib.llama_memory_seq_rm(self._memory, stream, keep, -1) and self.holds(stream, keep):
            return True
        lib.llama_memory_seq_rm(self._memory, stream, -1, -1)
        return keep == 0

    def holds(self, stream: int, tokens: int) -> bool:
        """Whether a stream holds exactly `tokens` tokens, as far back as the next one attends."""
        first: int = lib.llama_memory_seq_pos_min(self._memory, stream)
        last: int = lib.llama_memory_seq_pos_max(self._memory, stream)
        return last == tokens - 1 and first <= max(0, tokens - self.window.tokens + 1 if self.window.tokens else 0)

    def least(self, stream: int) -> int:
        first: int = lib.llama_memory_seq_pos_min(self._memory, stream)
        return first + self.window.tokens - 1 if first > 0 else 0

    def copy(self, source: int, target: int) -> None:
        """The library only notes the copy and copies the whole stream at the next decode. A short text is copied as a state
        instead."""
        held: int = lib.llama_memory_seq_pos_max(self._memory, source) + 1
        if not self.window.tokens and held * SHORT <= self.loaded.context:
            state = self.save(source)
            if state and self.restore(target, state):
                return
        lib.llama_memory_seq_rm(self._memory, target, -1, -1)
        lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        self._sources.add(source)
        self._targets.add(target)

    def _do_copies(self, stream: int) -> None:
        """Force the noted copies: decode one token behind the content of the stream, then remove it."""
        end: int = lib.llama_memory_seq_pos_max(self._memory, stream) + 1
        self._batch.fill_one(self._vocabulary.filler, end, stream)
        self._decode()
        lib.llama_memory_seq_rm(self._memory, stream, end, -1)

    def save(self, stream: int) -> bytes | memoryview:
        if stream in self._targets:
            self._do_copies(stream)
        size: int = lib.llama_state_seq_get_size(self._context, stream)
        if not size:
            return b""
        state = mmap.mmap(-1, size, flags=PRIVATE)
        written: int = lib.llama_state_seq_get_data(
            self._context, _bytes_at(np.frombuffer(state, np.uint8)), size, stream
        )
        return memoryview(state) if written == size else b""

    def restore(self, stream: int, state: bytes | memoryview) -> int:
        lib.llama_memory_seq_rm(self._memory, stream, -1, -1)
        if stream in self._sources | self._targets:  # otherwise the new content would be copied or overwritten later
            self._do_copies(stream)
        data = _bytes_at(np.frombuffer(state, np.uint8))
        if not lib.llama_state_seq_set_data(self._context, data, len(state), stream):
            return 0
        last: int = lib.llama_memory_seq_pos_max(self._memory, stream)
        return last + 1

    def piece(self, token: int) -> bytes:
        return self._vocabulary.piece(token)

    def is_end(self, token: int) -> bool:
        return self._vocabulary.is_end(token)

    def _check_second(self, load: Load) -> list[str]:
        """Check the draft model; returns notices. A model that cannot be cut can neither draft nor use drafts, and its draft is
        unloaded."""
        if self._second is None:
            return []
        if self.reuses and self._second.reuses:
            second.check(load, self._vocabulary, self._second._vocabulary)
            return []
        notice = second.unusable(load, self.reuses)
        lib.llama_free(self._second._context)
        lib.llama_model_free(self._second._model)
        self._second = None
        return [notice]

    def _try_out(self, load: Load, model: Any) -> tuple[Any, Shape]:
        shape = wanted_shape(load, model)
        return new_context(model, load, shape, self._log), shape

    def _draft_bytes(self, load: Load) -> int:
        """GPU bytes of the draft's KV memory, once the shape is known."""
        if self._second is None or not self._second._weights.plan.layers:
            return 0
        cells = wanted_shape(load, self._second._model).cells
        return int(cell_bytes(self._second._model, "f16") * (1 - self._second._weights.cells) * cells)

    def _draft(self, load: Load) -> DraftContext | None:
        """The draft model as the main model's context sees it: with full attention, reshaped on demand."""
        if self._second is None:
            return None
        draft, own = self._second, second.load_of(load)
        cells = MemoryNeeds(0, 0, cell_bytes(draft._model, own.kv_type))
        return DraftContext(
            draft._weights, draft._weights.needs(cells), lambda shape: draft._reshape(own, shape, self._log)
        )

    def _window(self, batch: int) -> Window:
        looks: int = lib.llama_model_n_swa(self._model) if self.reuses else 0
        cells = window_cells(looks, batch, self.loaded.context)
        return Window(looks, cells - looks if cells < self.loaded.context else cells)

    def _reshape(self, load: Load, shape: Shape, log: NativeLog) -> None:
        """As a draft model: take the main model's shape; `log` records what that takes."""
        check_positions(load, shape.context, lib.llama_model_n_ctx_train(self._model))
        lib.llama_free(self._context)
        self._log = log
        self._context, self._threads = new_context(self._model, load, shape, log), 0
        self.rows = output_rows(load, self._model, shape)
        self._memory = lib.llama_get_memory(self._context)
        self._batch = Batch(max(load.batch, shape.streams))


def _bytes_at(array: NDArray[np.uint8]) -> Any:
    """The array as a byte pointer; the library reads or fills it before it returns."""
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
