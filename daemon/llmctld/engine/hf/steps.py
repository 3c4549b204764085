"""Chooses how a transformers model is stepped: the library's batching or, where that computes something else, one by one.

Sizes the memory, and tests each way against the model's output for a text read at once.
"""

from typing import Any, Protocol

import torch

from llmctl.config import CONTEXT_CAP
from llmctld.engine.errors import EXITS, LoadError, Refusal
from llmctld.engine.fit import MemoryNeeds, Shape, fit, mebibytes, notice
from llmctld.engine.hf.files import FETCH, first_line
from llmctld.engine.hf.folder import size_of
from llmctld.engine.hf.paged import Paged, Pick, token_bytes
from llmctld.engine.hf.single import Single
from llmctld.engine.messages import Load, Loaded
from llmctld.engine.streams.sequence import Sequence

PROBES = ([1, 2, 3, 4, 5], [6, 5, 4])
TOLERANCES = {torch.float32: 0.002}
COARSE = 0.05
"""Allowed difference as a share of the largest logit; half precision rounds coarsely."""
STEPS = 3
"""Steps of a probe: an error in the cache shows only when it is read."""
ROWS = 3
"""Number of float32 copies of the logits that are held at once."""


class Steps(Protocol):
    """Computes several requests, or one at a time."""

    pick: Pick

    @property
    def bytes(self) -> int:
        """Bytes besides the weights."""

    def step(self, sequences: list[Sequence]) -> dict[int, int | Refusal]:
        """One step for exactly these sequences; the new token of each, none while its prompt is being computed."""

    def drop(self, id: int) -> None:
        """Forget a sequence; unknown ids are ignored."""


class Probe:
    """Reference output of the model for each probe, read at once and alone. Raises LoadError if that fails."""

    @torch.no_grad()
    def __init__(self, load: Load, model: Any, size: int) -> None:
        self._probes = [[token % size for token in tokens] for tokens in PROBES]
        self._at: dict[int, int] = {}
        self._seen: dict[int, torch.Tensor] = {}
        self._tolerance = TOLERANCES.get(model.dtype, COARSE)
        try:
            inputs = (torch.tensor([tokens], device=model.device) for tokens in self._probes)
            self._own = [model(tokens).logits[0, -1].float() for tokens in inputs]
        except EXITS:
            raise
        except BaseException as error:
            message = f"{load.name}: the model in {load.path} cannot be run: {first_line(error)}"
            raise LoadError(message, FETCH) from error

    def passes(self, steps: Steps, slots: int) -> bool:
        """Whether the next tokens have the same logits when computed in a second step, next to others if there are slots."""
        self._seen = {}
        for first in range(0, len(self._probes), slots):
            chosen = range(first, min(first + slots, len(self._probes)))
            starts = {id: self._probes[id][: 1 - STEPS] for id in chosen}
            sequences = [Sequence(id, tokens, len(tokens), STEPS) for id, tokens in starts.items()]
            for _ in range(STEPS):
                self._at = {sequence.id: len(sequence.tokens) for sequence in sequences}
                said = steps.step(sequences)
                if any(isinstance(each, Refusal) for each in said.values()):
                    return False
                for sequence in sequences:
                    sequence.tokens.append(self._after(sequence.id))
            for id in chosen:
                steps.drop(id)
        bounds = [self._tolerance * float(own.abs().max()) for own in self._own]
        return all(
            id in self._seen and torch.allclose(self._seen[id], own, atol=bound)
            for id, (own, bound) in enumerate(zip(self._own, bounds, strict=True))
        )

    def _after(self, id: int) -> int:
        """The next token of the probe; any token after its end."""
        return self._probes[id][min(self._at[id], len(self._probes[id]) - 1)]

    def pick(self, ids: list[int], rows: torch.Tensor) -> torch.Tensor:
        """Continue the probe regardless of the logits."""
        self._seen |= {id: rows[place].float().clone() for place, id in enumerate(ids)}
        forced = torch.tensor([self._after(id) for id in ids], device=rows.device)
        return torch.nn.functional.one_hot(forced, rows.shape[-1]).to(rows)


def steps_for(load: Load, model: Any, size: int, limit: int) -> tuple[Steps, Loaded]:
    """`size`: length of a row of logits. `limit`: bytes for everything. Raises LoadError."""
    _check_positions(load, model)
    trial = Probe(load, model, size)
    implementation = model.config._attn_implementation
    reason = "its results in a batch differ from those alone"
    try:
        steps, loaded = _paged(load, model, size, limit, trial.pick)
        if trial.passes(steps, loaded.slots):
            return steps, loaded
        del steps
    except (LoadError, torch.OutOfMemoryError):
        raise
    except EXITS:
        raise
    except BaseException as error:  # noqa: BLE001 - the library says in many ways that it cannot batch a model
        reason = first_line(error)
    model.set_attn_implementation(implementation)
    return _single(load, model, limit, trial, reason)


def _paged(load: Load, model: Any, size: int, limit: int, pick: Pick) -> tuple[Steps, Loaded]:
    """Estimate, create, measure, as for a GGUF file."""
    weights, own = size_of(model), _own_context(model)
    wanted = Shape(load.slots, load.context or min(own, CONTEXT_CAP), load.retained)
    fixed = weights + load.slots * size * torch.float32.itemsize * ROWS
    memory = MemoryNeeds(limit, fixed, token_bytes(model.config, model.dtype, load.batch))
    while True:
        shape = fit(load.name, wanted, memory)
        steps = Paged(model, shape, load.batch, pick)
        total = weights + steps.bytes
        if total <= limit:
            break
        del steps
        memory = memory.corrected(shape, total)
    notices = [notice(load.name, wanted, shape, memory)] if shape != wanted else []
    return steps, _loaded(shape, total, [*notices, *_stretched(load, shape, own)])


def _single(load: Load, model: Any, limit: int, trial: Probe, reason: str) -> tuple[Steps, Loaded]:
    """Its cache grows with the text and is not allocated beforehand."""
    kind, own = model.config.model_type, _own_context(model)
    message = f"{load.name}: a model of the type {kind!r} cannot generate token by token"
    try:
        steps = Single(model, trial.pick)
    except StopIteration as error:
        raise LoadError(message, "Use a GGUF file of this model.") from error
    if not trial.passes(steps, 1):
        raise LoadError(message, "Use a GGUF file of this model.")
    shape = Shape(1, load.context or min(own, CONTEXT_CAP))
    alone = f"{load.name}: one request at a time: transformers cannot batch a model of the type {kind!r} ({reason})"
    weights = size_of(model)
    if weights > limit:
        raise LoadError(f"{load.name} does not fit in memory: {mebibytes(weights)} of {mebibytes(limit)}", FETCH)
    return steps, _loaded(shape, weights, [alone, *_stretched(load, shape, own)])


def _own_context(model: Any) -> int:
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or CONTEXT_CAP)


def _check_positions(load: Load, model: Any) -> None:
    """A model with a position table cannot go past its end."""
    inputs = model.get_input_embeddings()
    tables = [
        each.num_embeddings
        for name, each in model.named_modules()
        if isinstance(each, torch.nn.Embedding) and each is not inputs and ("pos" in name or name.endswith("wpe"))
    ]
    if tables and (load.context or 0) > min(tables):
        message = f"{load.name}: `context` is {load.context}, but {load.path} has only {min(tables)} positions"
        raise LoadError(message, "Set a smaller `context`.")


def _stretched(load: Load, shape: Shape, own: int) -> list[str]:
    words = f"{load.name}: a context of {shape.context} is more than the {own} the model was trained with"
    return [words] if shape.context > own else []


def _loaded(shape: Shape, total: int, notices: list[str]) -> Loaded:
    return Loaded(
        backend="transformers", context=shape.context, slots=shape.slots, retained=shape.retained, memory_bytes=total,
        notices=notices,
    )  # fmt: skip
