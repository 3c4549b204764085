"""A model in a GGUF file, computed by llama.cpp through its C interface.

It knows streams, batches and the library's calls. The scheduler decides when to compute; the loop handles text.
"""

import ctypes
import mmap
import traceback
from dataclasses import replace
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
from numpy.typing import NDArray

from llmctld.engine.answer.sampling import SamplingDefaults
from llmctld.engine.core.draft_model import DraftModel
from llmctld.engine.core.step_threads import StepThreads
from llmctld.engine.drafts.speculation import ROWS
from llmctld.engine.errors import LoadError, Refusal
from llmctld.engine.fit import MemoryNeeds, Shape, fit, notice
from llmctld.engine.llama import draft_file as second
from llmctld.engine.llama.adapters import Adapters
from llmctld.engine.llama.batch import Batch
from llmctld.engine.llama.cells import KV_TYPES, cell_bytes, reuses, wanted_shape, window_cells
from llmctld.engine.llama.internals.native_log import NativeLog
from llmctld.engine.llama.pages import give_back_zeros, stretches
from llmctld.engine.llama.reader import GgufReader
from llmctld.engine.llama.sampler import Sampler
from llmctld.engine.llama.vocabulary import Vocabulary
from llmctld.engine.llama.weights import check_positions, metadata, read_weights
from llmctld.engine.messages import Load, Loaded, Scored, Submit
from llmctld.engine.prompt.encode import encode
from llmctld.engine.prompt.prompt import Prompt
from llmctld.engine.prompt.systems import takes_later
from llmctld.engine.prompt.template import ChatTemplate
from llmctld.engine.sandbox.process import Scribe
from llmctld.engine.streams.checkpoints import NO_WINDOW, Window
from llmctld.engine.streams.sequence import Chunk

PROBE = 512
"""Context in tokens for measuring sizes."""
SHORT = 4
"""A text that uses at most 1/SHORT of its stream is copied as a state."""
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
"""Memory for a state of megabytes, allocated at once: for 7 MiB this takes 3 ms, page by page 4 ms, with huge pages 14 ms."""


REQUESTS_FAULT = (-1, 1)
"""Results of llama_decode for invalid tokens or positions, and for a full KV memory: errors of one request. Below -1 the
computation itself failed (include/llama.h)."""


class Gguf:
    """Implements backend.TextModel."""

    mixes = False
    """The library computes the streams of a batch in parts of equal length, and reads all weights for each part."""

    def __init__(self, load: Load) -> None:
        _check_kv_type(load)
        self._context: Any = None
        self.window = NO_WINDOW
        scribe = Scribe() if load.speaks else None  # first: the template process starts while the weights are read
        self._second = second.read(load, Gguf)  # before our own log: the library calls the newest log
        self._log = NativeLog()
        self._weights = read_weights(load, self._log, lambda model: self._try_out(load, model), self._draft_bytes(load))
        self._model = self._weights.model
        told = metadata(self._model)
        _check_kind(load, told)
        self._vocabulary = Vocabulary(self._model)
        self._defaults = SamplingDefaults.named_by(told)
        source = load.template or told.get("tokenizer.chat_template", "")
        own = {"bos_token": self._vocabulary.bos_text, "eos_token": self._vocabulary.eos_text}
        name = told.get("general.name", "")
        self._template = ChatTemplate(source, own | load.template_options, scribe, name) if source and scribe else None
        self._reader = GgufReader(self._vocabulary, source)
        self.reuses = reuses(self._model)
        self.drafts = self.reuses and load.speculation == "ngram"
        unusable = self._check_second(load)
        self.loaded = self._make_context(load)
        self.loaded.notices += unusable
        self.streams = self.loaded.slots + self.loaded.retained
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
            reason = self._log.first_error or "it gives no reason"
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
        first = lib.llama_get_logits_ith(self._context, row)
        address = ctypes.addressof(first.contents)
        if address not in self._views:
            self._views[address] = np.ctypeslib.as_array(first, (self._vocabulary.size,))
        return self._views[address]

    def _use(self, threads: int) -> None:
        """Set the thread count if it changed: the library logs each call, and the log is a callback into Python."""
        if threads != self._threads:
            lib.llama_set_n_threads(self._context, threads, threads)
            self._threads = threads

    def _decode(self) -> int:
        """Decode the batch after the noted copies; 0 on success."""
        status: int = lib.llama_decode(self._context, self._batch.struct)
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
            except Exception as error:  # noqa: BLE001 - a bug met by one request must not take the others down
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
        self._batch.one(self._vocabulary.filler, end, stream)
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
        self.drafts = reuses(model) and load.speculation == "ngram"
        return self._new_context(model, load, shape), shape

    def _draft_bytes(self, load: Load) -> int:
        """GPU bytes of the draft's KV memory, once the shape is known."""
        if self._second is None or not self._second._weights.plan.layers:
            return 0
        cells = wanted_shape(load, self._second._model).cells
        return int(cell_bytes(self._second._model, "f16") * (1 - self._second._weights.cells) * cells)

    def _window(self, batch: int) -> Window:
        looks: int = lib.llama_model_n_swa(self._model) if self.reuses else 0
        cells = window_cells(looks, batch, self.loaded.context)
        return Window(looks, cells - looks if cells < self.loaded.context else cells)

    def _needs(self, load: Load, cells: MemoryNeeds) -> MemoryNeeds:
        """Host memory for the weights and these cells, including those of the draft model with full attention."""
        share = self._weights.cells
        memory = replace(cells, fixed=self._weights.host, cell=int(cells.cell * share), near=int(cells.near * share))
        if self._second is None:
            return memory
        other = second.load_of(load)
        more = self._second._needs(other, MemoryNeeds(0, 0, cell_bytes(self._second._model, other.kv_type)))
        return replace(memory, fixed=memory.fixed + more.fixed, cell=memory.cell + more.cell)

    def _cells(self, load: Load) -> MemoryNeeds:
        """Bytes per cell. With sliding windows, measured on a small context: the library does not tell which layers have a
        window."""
        if self.reuses and (looks := lib.llama_model_n_swa(self._model)):
            self._log.clear()
            lib.llama_free(self._new_context(self._model, load, Shape(1, PROBE)))
            if len(self._log.caches) == 2 and all(cells == PROBE for _, cells in self._log.caches):
                (whole, _), (near, _) = self._log.caches
                window = window_cells(looks, max(load.batch, load.slots), 2**31)
                return MemoryNeeds(load.memory_bytes, 0, whole // PROBE, near // PROBE, window)
        return MemoryNeeds(load.memory_bytes, 0, cell_bytes(self._model, load.kv_type))

    def _reshape(self, load: Load, shape: Shape, log: NativeLog) -> None:
        """As a draft model: take the main model's shape; `log` records what that takes."""
        check_positions(load, shape.context, lib.llama_model_n_ctx_train(self._model))
        lib.llama_free(self._context)
        self._log = log
        self._context, self._threads = self._new_context(self._model, load, shape), 0
        self._memory = lib.llama_get_memory(self._context)
        self._batch = Batch(max(load.batch, shape.streams))

    def _make_context(self, load: Load) -> Loaded:
        """Estimate, create, measure; on an underestimate (compute buffers) raise the cell size and try again."""
        own: int = lib.llama_model_n_ctx_train(self._model)
        check_positions(load, load.context or 0, own)
        cells = self._cells(load)
        memory = self._needs(load, cells)
        name = f"{load.name} with its draft" if self._second else load.name
        wanted = wanted_shape(load, self._model, self._weights.plan.retained)
        before = stretches()
        while True:
            shape = fit(name, wanted, memory)
            self._log.clear()
            self._context = self._new_context(self._model, load, shape)
            if self._second is not None:
                self._second._reshape(second.load_of(load), shape, self._log)
            total = memory.fixed + self._weights.buffers(self._log)
            if total <= load.memory_bytes:
                break
            lib.llama_free(self._context)
            memory = memory.corrected(shape, total)
        if not self._weights.plan.gpus:  # a device may hold addresses of pages shared with the host
            give_back_zeros(before)
        self.stream_bytes = cells.stream(shape)
        notices = [notice(name, wanted, shape, memory)] if shape != wanted else []
        if shape.context > own:
            notices.append(
                f"{load.name}: a context of {shape.context} is more than the {own} the model was trained with"
            )
        loaded = Loaded(
            backend="llama.cpp",
            context=shape.context,
            slots=shape.slots,
            retained=shape.retained,
            memory_bytes=total,
            base=self._template is None,
            system_later=self._template is None or takes_later(self._template.render),
            notices=notices,
        )
        self._weights.tell(loaded, self._log, *([self._second._weights] if self._second else []))
        return loaded

    def _new_context(self, model: Any, load: Load, shape: Shape) -> Any:
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = shape.cells
        parameters.n_seq_max = shape.streams
        parameters.n_batch = max(load.batch, shape.slots)
        parameters.n_ubatch = parameters.n_batch
        # one row of logits per stream, plus drafts: 512 rows of 150,000 would take 300 MB
        self.rows = parameters.n_outputs_max = shape.streams + (ROWS if self.drafts else 0)
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
                f"{load.name}: llama.cpp cannot make {shape.slots} slots of {shape.context} tokens "
                f"({load.kv_type}): {self._log.first_error or 'it gives no reason'}",
                "Set a smaller `context`, fewer `slots`, or another `kv_type` for this model.",
            )
        return context


def _bytes_at(array: NDArray[np.uint8]) -> Any:
    """The array as a byte pointer; the library reads or fills it before it returns."""
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _check_kv_type(load: Load) -> None:
    if load.kv_type not in KV_TYPES:
        raise LoadError(f"{load.name}: kv_type is {load.kv_type!r}, but must be one of {', '.join(KV_TYPES)}")


def _check_kind(load: Load, told: dict[str, str]) -> None:
    """The file may have changed since the catalog looked at it."""
    architecture = told.get("general.architecture", "")
    if told.get(f"{architecture}.attention.causal") == "false" or architecture.startswith("t5"):
        raise LoadError(f"{load.name} generates no text: {load.path} holds a model of the kind {architecture!r}")
