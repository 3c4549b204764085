"""One request at a time on a transformers model with unusual or no attention: its own forward, its own cache.

The library's batching (paged.py) computes such models wrongly.
"""

import inspect
import traceback
from typing import Any

import torch

from llmctld.engine.errors import EXITS, Refusal
from llmctld.engine.hf.paged import Pick
from llmctld.engine.streams.sequence import Sequence

CACHES = ("past_key_values", "cache_params")
"""Names of the cache argument: with attention (a mask gives the length), and without."""


class Single:
    """Raises StopIteration if the model keeps no cache."""

    def __init__(self, model: Any, pick: Pick) -> None:
        self._model, self.pick = model, pick
        known = inspect.signature(model.forward).parameters
        self._cache_name = next(name for name in CACHES if name in known)
        self._masked = "attention_mask" in known and self._cache_name == CACHES[0]
        self._id: int | None = None
        self._cache: Any = None
        self._computed = 0
        self.bytes = 0

    def step(self, sequences: list[Sequence]) -> dict[int, int | Refusal]:
        """The whole prompt at once, then one token per step."""
        (sequence,) = sequences
        if sequence.id != self._id:
            self.drop(self._id)
            self._id = sequence.id
        try:
            return {sequence.id: self._next(sequence)}
        except EXITS:
            raise
        except BaseException as error:  # noqa: BLE001 - a bug met by one step must not end the process
            traceback.print_exc()
            self.drop(sequence.id)
            said = Refusal("engine_failed", f"transformers failed at a step: {type(error).__name__}: {error}")
            return {sequence.id: said}

    @torch.no_grad()
    def _next(self, sequence: Sequence) -> int:
        tokens = torch.tensor([sequence.tokens[self._computed :]], device=self._model.device)
        given = {"use_cache": True, self._cache_name: self._cache}
        if self._masked:
            given["attention_mask"] = torch.ones(1, len(sequence.tokens), dtype=torch.long, device=tokens.device)
        out = self._model(tokens, **given)
        self._cache, self._computed = out[self._cache_name], len(sequence.tokens)
        row = out.logits[:, -1].float()
        return int(self.pick([sequence.id], row)[0].argmax())

    def drop(self, id: int | None) -> None:
        if id == self._id:
            self._id, self._cache, self._computed = None, None, 0
