"""Proves a model by a first decode before Ready: crashing kernels crash here, not in a user's request.

It knows which token counts reach which kernels. The hub decides what to do about a failure. Leaves no state behind.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from llmctld.engine.core.draft_model import Rows
from llmctld.engine.embed.loop import Reading, Vectors
from llmctld.engine.errors import LoadError
from llmctld.engine.streams.sequence import Chunk
from llmctld.engine.streams.sequence import Sequence as Request

PROMPT = 33
"""Tokens of the prompt: above 32, where all libraries use matrix-matrix kernels. A single token follows."""
TEXTS = ("The quick brown fox jumps over the lazy dog, and 12 rivers run under the old bridge. " * 2, "a b c d e " * 8)
"""A second prompt is tried, because one damaged token must not rule out the whole model."""


class Unproven(LoadError):
    """The model computes NaN or infinity."""


class Texter(Rows, Protocol):
    """The part of a text model that the proof needs. `rows`: rows of logits that one step may ask for."""

    rows: int

    def tokens_of(self, text: str) -> list[int]:
        """Tokens of `text`, with the model's beginning-of-sequence token."""


class TextReader(Protocol):
    """The part of an embedding model that the proof needs."""

    def read(self, text: str, prompt: str | None) -> Reading: ...

    def embed(self, readings: Sequence[Reading]) -> Vectors: ...


def text(name: str, model: Texter, most: int) -> None:
    """Compute a prompt of PROMPT tokens (or `most`, if fewer) and the tokens after it. Raises Unproven."""
    _try_each(name, lambda words: _says_something(model, model.tokens_of(words), most))


def draft(model: Texter, most: int) -> None:
    """Check that the model does not crash. NaN in a draft is ignored later."""
    _says_something(model, model.tokens_of(TEXTS[0]), most)


def embedding(name: str, model: TextReader, most: int) -> None:
    """Embed a long text and a short one. Raises Unproven."""
    _try_each(name, lambda words: _finite(model.embed([_of_length(model, words, most)])) and _short(model, words))


def _try_each(name: str, proven: Callable[[str], bool]) -> None:
    if not any(proven(words) for words in TEXTS):
        message = f"{name}: a test prompt gave invalid numbers (NaN or infinity)"
        raise Unproven(message, "Its file may be damaged: download it again.")


def _says_something(model: Texter, words: list[int], most: int) -> bool:
    """Compute a prompt, one token, and a token with a draft: the output matrix is multiplied with the requested rows only, so the
    kernels for several rows run only with two."""
    drafts = [0, 0, 1] if model.rows > 1 and most > 2 else [0, 0]
    tokens = words[: min(PROMPT, most - len(drafts) + 2)]
    request = Request(0, tokens, len(tokens), 1)
    try:
        for drafted in drafts:
            draft = request.tokens[:1] * drafted
            (row,) = model.logits([Chunk(request, 0, request.position, request.pending, draft)])
            if (
                row is None or np.isnan(row).any() or not np.isfinite(row.max())
            ):  # -inf is allowed: a token that is never sampled
                return False
            request.position = len(request.tokens)
            request.add(int(row.argmax()), 0.0)
    finally:
        model.cut(0, 0)
    return True


def _of_length(model: TextReader, words: str, most: int) -> Reading:
    reading = model.read(words[: most // 2], None)
    return Reading(reading.text, reading.tokens[:most], reading.prompt)


def _short(model: TextReader, words: str) -> bool:
    return _finite(model.embed([model.read(words.split()[0][:1], None)]))


def _finite(vectors: Vectors) -> bool:
    return bool(np.isfinite(vectors).all())
