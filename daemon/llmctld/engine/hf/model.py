"""A causal language model in a transformers folder, computed by torch with that library's continuous batching.

| part of a request | where it is done |
|---|---|
| admission, priorities, users | core/scheduler.py, as for a GGUF file |
| prompt chunks, batching, shared prefixes | the library's manager (hf/paged.py) |
| the same, on models that the manager computes wrongly | the model's own forward, one request at a time (hf/single.py) |
| temperature, top-k, top-p, min-p, penalties, biases, seed | answer/choice.py, on the manager's rows of logits |
| schema, grammar, log-probabilities, ignore_eos | answer/choice.py |
| stop strings, reasoning, max_tokens, end tokens | core/loop.py and answer/text.py |
| `repro` | alone, without cached pages |
| adapters | refused (status 5) |"""

import math
import traceback
from functools import partial
from typing import Any

import msgspec
import torch

from llmctld.engine.answer.choice import Choice, no_number
from llmctld.engine.answer.sampling import SamplingDefaults
from llmctld.engine.core.backend import WithoutReuse
from llmctld.engine.core.draft_model import DraftModel
from llmctld.engine.core.step_threads import StepThreads
from llmctld.engine.errors import EXITS, Refusal
from llmctld.engine.hf import device as torch_device
from llmctld.engine.hf.files import first_line
from llmctld.engine.hf.folder import (
    dtype_of,
    read_config,
    read_model,
    read_tokenizer,
)
from llmctld.engine.hf.reader import HfReader
from llmctld.engine.hf.steps import steps_for
from llmctld.engine.hf.words import HfWords
from llmctld.engine.messages import Load, Scored, Submit
from llmctld.engine.prompt.encode import encode
from llmctld.engine.prompt.prompt import Prompt
from llmctld.engine.prompt.systems import takes_later
from llmctld.engine.streams.checkpoints import Window
from llmctld.engine.streams.sequence import Chunk

PANIC = "PanicException"
"""The type that the library tokenizers raises for a regular expression that takes too long; it cannot be imported."""


class Hf(WithoutReuse):
    """Implements backend.TextModel. Its streams are the manager's pages, which cannot be cut or copied from outside."""

    mixes = True
    reuses = drafts = False
    window = Window()
    draft_model: DraftModel | None = None
    stream_bytes = 0

    def __init__(self, load: Load) -> None:
        torch.set_num_threads(load.threads)
        device = torch_device.choose(load)
        self._step_threads = StepThreads(load, device.type != "cpu", torch.set_num_threads)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        config = read_config(load)
        dtype = dtype_of(load, device, config)
        tokenizer = read_tokenizer(load)
        limit = torch_device.room(load, device)
        self._model = read_model(load, config, device, dtype, limit)
        named = self._model.generation_config
        ends = sorted({*_listed(named.eos_token_id), *_listed(tokenizer.eos_token_id)})
        tokenizer.chat_template = load.template or tokenizer.chat_template
        rows = int(self._model.get_output_embeddings().weight.shape[0])
        self._words = HfWords(tokenizer, rows, ends, load)
        self._rows = int(self._model.get_input_embeddings().weight.shape[0])
        """Rows of the embedding table: a token beyond it would fail the step for everyone in it."""
        self._reader = HfReader(tokenizer)
        self._defaults = SamplingDefaults.of(named)
        self._choices: dict[int, Choice] = {}
        self._said: dict[int, int | Refusal] = {}
        self._steps, loaded = steps_for(load, self._model, self._words.size, limit)
        self._steps.pick = self._pick
        self.loaded = msgspec.structs.replace(
            loaded, base=self._words.template is None, devices=[str(device)],
            system_later=self._words.template is None or takes_later(self._words.template.render),
            gpu_bytes=0 if device.type == "cpu" else loaded.memory_bytes,
            notices=[*loaded.notices, *torch_device.notices(load, device)],
        )  # fmt: skip
        self.streams = loaded.slots

    # ---- requests ---------------------------------------------------------------------------------------------------

    def encode(self, submit: Submit) -> Prompt:
        reader = self._reader
        typed = partial(reader.tokens, around=True)
        try:
            prompt = encode(submit, self._words.template, self._words, reader.markers, typed, reader.tokens)
        except BaseException as error:
            if type(error).__name__ != PANIC:
                raise
            message = f"the model's tokenizer fails on this text: {first_line(error)}"
            raise Refusal("invalid_request", message, "Change the text, for example its longest words.") from error
        if (last := max(prompt.tokens)) >= self._rows:
            name = f"the token {self._words.name(last)!r} (id {last})"
            message = f"the prompt contains {name}, but this model knows only the ids 0 to {self._rows - 1}"
            raise Refusal(
                "invalid_request",
                message,
                "Remove it from the prompt: the folder's tokenizer contains it, but the weights do not.",
            )
        return prompt

    def open(self, submit: Submit, prompt: Prompt) -> None:
        if submit.adapters:
            message = "this model is a transformers folder, which does not support LoRA adapters"
            raise Refusal("invalid_request", message, "Merge the adapter into the model, or use a GGUF file of it.")
        bias = {self._words.named(key): value for key, value in submit.logit_bias.items()}
        if submit.ignore_eos:
            bias |= dict.fromkeys(self._words.ends, -math.inf)
        end = self._words.ends[0] if self._words.ends else -1
        self._choices[submit.id] = Choice(submit, self._defaults, self._words, bias, prompt.tokens, end)

    def close(self, id: int) -> list[Scored] | None:
        self._steps.drop(id)
        return self._choices.pop(id).scored

    def decode(self, chunks: list[Chunk]) -> list[list[int] | Refusal]:
        """The manager splits prompts as it likes; a request without a token yet comes again."""
        self._said = {}
        sequences = [chunk.sequence for chunk in chunks]
        came = self._step_threads.compute(chunks, lambda: self._steps.step(sequences)) | self._said
        ids = [chunk.sequence.id for chunk in chunks]
        for chunk in chunks:
            chunk.sequence.batched |= chunk.sequence.cached > 0
        return [_outcome(came.get(id)) for id in ids]

    def piece(self, token: int) -> bytes:
        return self._words.piece(token)

    def is_end(self, token: int) -> bool:
        return self._words.is_end(token)

    def _pick(self, ids: list[int], rows: torch.Tensor) -> torch.Tensor:
        """Rows whose maximum is at the token that each request's Choice picks; the tokens are recorded in `_said`."""
        if rows.shape[-1] > self._rows:
            rows[:, self._rows :] = -math.inf  # it could be sampled but not fed back
        broken = rows.isnan().any(dim=-1).tolist()
        for place, id in enumerate(ids):
            if broken[place]:
                self._said[id] = no_number()
            elif not self._choices[id].is_plain:
                if id not in self._said:  # a failed step is repeated one by one
                    self._said[id] = self._choose(id, rows[place])
                said = self._said[id]
                rows[place].fill_(-math.inf)
                rows[place, 0 if isinstance(said, Refusal) else max(said, 0)] = 0.0
        return rows

    def _choose(self, id: int, row: torch.Tensor) -> int | Refusal:
        try:
            return self._choices[id].pick(row.float().cpu().numpy().copy())
        except Refusal as refusal:
            return refusal
        except EXITS:
            raise
        except BaseException as error:  # noqa: BLE001 - a bug met by one request must not take the others down
            traceback.print_exc()
            return Refusal("internal", f"request {id}: {error!r}")


def _outcome(said: int | Refusal | None) -> list[int] | Refusal:
    if said is None:
        return []
    return said if isinstance(said, Refusal) else [said]


def _listed(tokens: Any) -> list[int]:
    return [] if tokens is None else [tokens] if isinstance(tokens, int) else list(tokens)
