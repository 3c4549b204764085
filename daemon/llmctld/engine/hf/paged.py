"""Several requests on a transformers model: the library's continuous batching, one step at a time.

It uses the manager of transformers 5.23 and runs the steps of the manager's own thread here, so that one thread owns the model.
`pick` chooses the token for a row of logits.
"""

import traceback
from collections.abc import Callable
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching import ContinuousBatchingManager
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.utils import find_head_dim, find_num_key_value_heads

from llmctld.engine.errors import EXITS, Refusal
from llmctld.engine.fit import Shape
from llmctld.engine.streams.sequence import Sequence

PAGE = 32
"""Tokens per page; prompts share whole pages."""
Pick = Callable[[list[int], torch.Tensor], torch.Tensor]
"""Takes ids and their rows of logits; returns rows whose maximum is at the next token."""


class LogitsTap(ContinuousBatchingLogitsProcessor):
    """A logits processor at the end of the manager's chain, whose result the manager takes the maximum of.

    The manager tells it beforehand which requests the rows belong to, along with parameters (it asks for none).
    """

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012 - declared so by the library
    ignored_kwargs = ()

    def __init__(self, pick: Callable[[list[str], torch.Tensor], torch.Tensor]) -> None:
        self._pick = pick
        self._names: list[str] = []

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        self._names = [request.state.request_id for request in requests_with_new_token]
        return torch.zeros(len(self._names), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        return self._pick(self._names, scores)


class Paged:
    """Raises the library's error if it cannot compute this kind of model."""

    def __init__(self, model: Any, shape: Shape, batch: int, pick: Pick) -> None:
        self._model, self.pick = model, pick
        config = ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=max(1, shape.cells // PAGE), max_batch_tokens=max(batch, shape.slots),
            max_requests_per_batch=shape.slots, allow_block_sharing=shape.retained > 0, safety_margin=0.0,
            # `pick` is Python on the host: no graph capture, compilation or asynchronous batching
            use_cuda_graph=False, use_async_batching=False, max_blocks_per_request=0, auto_switch_to_flash=False,
        )  # fmt: skip
        greedy: Any = GenerationConfig(do_sample=False, eos_token_id=-1)  # type: ignore[no-untyped-call]
        self._manager = ContinuousBatchingManager(model, greedy, config)
        rows = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([LogitsTap(self._picked)]))
        rows.tensors_required = 1
        self._manager.logit_processor = rows
        self._manager.warmup()
        self._processor: Any = self._manager.batch_processor
        self._names: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._fresh: set[str] = set()
        self._count = 0
        self._failed = False
        """Whether the last joint step failed while each request could be computed alone."""

    @property
    def bytes(self) -> int:
        """Bytes of the KV memory, its masks and tables, and the copies made to read it."""
        tables = self._processor.inputs_and_outputs
        tensors = [
            self._processor.cache.cache_tensor,
            tables.read_index_storage,
            *(tables.attention_mask or {}).values(),
        ]
        copied = copied_bytes(self._model.config, self._model.dtype) * self._processor.cache.num_blocks * PAGE
        return int(copied + sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    def step(self, sequences: list[Sequence]) -> dict[int, int | Refusal]:
        """One step for exactly these sequences: new ones are added, others dropped.

        Returns the new token of each; none while its prompt is being computed. On an error everything is forgotten and each is
        computed alone, so that only the request at fault fails.
        """
        for id in self._names.keys() - {sequence.id for sequence in sequences}:
            self.drop(id)
        for sequence in sequences:
            if sequence.id not in self._names:
                self._add(sequence)
        try:
            came = self._step({sequence.id: sequence for sequence in sequences})
        except EXITS:
            raise
        except BaseException as error:  # noqa: BLE001 - a bug met by one step must not end the process
            traceback.print_exc()
            self._reset()
            return self._after(error, sequences)
        self._failed = False
        return came

    def _after(self, error: BaseException, sequences: list[Sequence]) -> dict[int, int | Refusal]:
        """Compute each alone up to its next token or its end. If a joint step fails twice in a row with no request at fault, all
        fail."""
        if len(sequences) == 1 or self._failed:
            self._failed = False
            refusal = Refusal("engine_failed", f"transformers failed at a step: {type(error).__name__}: {error}")
            return {sequence.id: refusal for sequence in sequences}
        came: dict[int, int | Refusal] = {}
        for sequence in sequences:
            while sequence.id not in came:  # split long prompts
                came |= self.step([sequence])
        self._failed = not any(isinstance(said, Refusal) for said in came.values())
        return came

    @torch.no_grad()
    def _step(self, sequences: dict[int, Sequence]) -> dict[int, int | Refusal]:
        if not self._processor.prepare_next_batch():
            raise RuntimeError("nothing can be scheduled")
        for future in self._processor.inputs_and_outputs.requests_in_batch:
            self._note_prefix(sequences[self._ids[future.state.request_id]], future)
        self._processor._generation_step(self._model)
        self._processor.update_batch()
        came = [each for each in self._processor.inputs_and_outputs.requests_in_batch if each.has_new_token]
        return {self._ids[each.state.request_id]: each.state.generated_tokens[-1] for each in came}

    def _note_prefix(self, sequence: Sequence, future: Any) -> None:
        """At its first step, record how much of its prompt was cached. A preempted sequence has recorded it."""
        if future.state.request_id in self._fresh:
            self._fresh.remove(future.state.request_id)
            if not sequence.completion_tokens:
                sequence.cached = future.state.position_offset - future.query_length

    def drop(self, id: int) -> None:
        """Free its pages; unknown ids are ignored."""
        name = self._names.pop(id, None)
        if name is None:
            return
        del self._ids[name]
        self._fresh.discard(name)
        self._processor.scheduler.set_request_cancellation(name)
        self._processor.scheduler.clear_cancelled_requests()

    def _add(self, sequence: Sequence) -> None:
        """Add under a new name each time: a preempted sequence returns with more tokens."""
        if sequence.alone:
            self._processor.cache.evict_cached_blocks()  # no cached prefix
        self._count += 1
        name = f"{sequence.id}.{self._count}"
        self._names[sequence.id], self._ids[name] = name, sequence.id
        self._fresh.add(name)
        self._manager.add_request(list(sequence.tokens), request_id=name, max_new_tokens=None, eos_token_id=-1)

    def _picked(self, names: list[str], scores: torch.Tensor) -> torch.Tensor:
        return self.pick([self._ids[name] for name in names], scores)

    def _reset(self) -> None:
        self._names, self._ids, self._fresh = {}, {}, set()
        while not self._manager.input_queue.empty():
            self._manager.input_queue.get_nowait()
        self._processor.reset()


def token_bytes(config: Any, dtype: torch.dtype, batch: int) -> int:
    """Bytes per token of KV memory: K and V of all layers, its column in the masks, and its copy while it is read."""
    text = config.get_text_config()
    width, heads = find_head_dim(text), find_num_key_value_heads(text)
    masks = 2 if getattr(text, "sliding_window", None) else 1
    kept = 2 * text.num_hidden_layers * heads * width * dtype.itemsize
    return int(kept + copied_bytes(config, dtype) + masks * batch * dtype.itemsize)


def copied_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes per token while its layer is computed: K and V, and one copy for each head that reads them."""
    text = config.get_text_config()
    return int(2 * (find_num_key_value_heads(text) + text.num_attention_heads) * find_head_dim(text) * dtype.itemsize)
