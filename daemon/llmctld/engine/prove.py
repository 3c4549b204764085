"""The first decode of a model, before it is said to be ready: kernels that crash, do so here, and not at somebody's question.

It knows how many tokens reach which kernels; what is to be done about a model that fails is the hub's. It leaves nothing behind.
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
"""Tokens of the prompt: above 32, from which on every library multiplies matrices by matrices; a single one follows."""
TEXTS = ("The quick brown fox jumps over the lazy dog, and 12 rivers run under the old bridge. " * 2, "a b c d e " * 8)
"""The second one is for a model of which one token is damaged: who does not say it may well use the model."""


class Unproven(LoadError):
    """What the model computes is no number."""


class Texter(Rows, Protocol):
    """What is proven of a model that generates text. `rows`: of logits that one step may ask for."""

    rows: int

    def tokens_of(self, text: str) -> list[int]:
        """With the beginning that the model wants."""


class TextReader(Protocol):
    """What is proven of a model that embeds."""

    def read(self, text: str, prompt: str | None) -> Reading: ...

    def embed(self, readings: Sequence[Reading]) -> Vectors: ...


def text(name: str, model: Texter, most: int) -> None:
    """A prompt of PROMPT tokens, or fewer where `most` are too few, and the tokens after it. Raises Unproven."""
    _try_each(name, lambda words: _says_something(model, model.tokens_of(words), most))


def draft(model: Texter, most: int) -> None:
    """Only that it does not crash: a draft that is no number is passed over."""
    _says_something(model, model.tokens_of(TEXTS[0]), most)


def embedding(name: str, model: TextReader, most: int) -> None:
    """A text of many tokens, and one of few. Raises Unproven."""
    _try_each(name, lambda words: _finite(model.embed([_of_length(model, words, most)])) and _short(model, words))


def _try_each(name: str, proven: Callable[[str], bool]) -> None:
    if not any(proven(words) for words in TEXTS):
        message = f"{name}: what it computes for plain words is no number (NaN or infinite)"
        raise Unproven(message, "Its file may be damaged: fetch it again.")


def _says_something(model: Texter, words: list[int], most: int) -> bool:
    """A prompt, one token, and a token with a draft: the matrix that makes logits is multiplied with the rows asked for alone,
    so what several at once do is seen only where there are two.
    """
    drafts = [0, 0, 1] if model.rows > 1 and most > 2 else [0, 0]
    tokens = words[: min(PROMPT, most - len(drafts) + 2)]
    request = Request(0, tokens, len(tokens), 1)
    try:
        for drafted in drafts:
            draft = request.tokens[:1] * drafted
            (row,) = model.logits([Chunk(request, 0, request.position, request.pending, draft)])
            if row is None or np.isnan(row).any() or not np.isfinite(row.max()):  # -inf: a token that is never said
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
