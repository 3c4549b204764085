"""Embeddings of a remote endpoint: from an answer's JSON to rows of float32, each where its text was.

It knows no connection, and no numpy: the hub loads none.
"""

import math
import sys
from array import array

import msgspec

from llmctl.errors import EngineFailed, from_code
from llmctld.engine.messages import Flaw
from llmctld.models import refusal
from llmctld.models.breaker import Trouble
from llmctld.models.endpoint import decode

NAN = math.nan


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage | None = None


def read_vectors(body: bytes, texts: int, who: str) -> tuple[list[list[float]], int]:
    """A vector for each of so many texts, in their order, all of one length; and the tokens that were counted.

    Raises Trouble for anything else.
    """
    answer = decode(body, _Vectors, who)
    found = {each.index if each.index is not None else place: each.embedding for place, each in enumerate(answer.data)}
    lengths = {len(vector) for vector in found.values()}
    if sorted(found) != list(range(texts)) or len(answer.data) != texts or len(lengths) != 1 or 0 in lengths:
        message = f"{who} gives {len(answer.data)} vectors with {sorted(lengths)} numbers for {texts} texts"
        raise Trouble(EngineFailed(message, refusal.ASK_AGAIN), again=False)
    return [found[index] for index in range(texts)], (answer.usage and answer.usage.prompt_tokens) or 0


def unit(vector: list[float]) -> list[float]:
    """Of length 1, but for one that has no direction."""
    length = math.sqrt(math.fsum(number * number for number in vector))
    return [number / length for number in vector] if length else vector


class Found:
    """The vectors of so many texts, each in its place, as they come; None where there is none yet, or never."""

    def __init__(self, texts: int) -> None:
        self.vectors: list[list[float] | None] = [None] * texts
        self.flaws: list[Flaw] = []
        self.tokens = 0

    def dimension(self, who: str) -> int:
        """That of all of them. Raises EngineFailed where they differ, and the first flaw where there are no others."""
        found = {len(vector) for vector in self.vectors if vector is not None}
        if not found:
            raise from_code(self.flaws[0].code, self.flaws[0].message, self.flaws[0].hint)
        if len(found) > 1:
            raise EngineFailed(
                f"{who} gives vectors of {' and of '.join(map(str, sorted(found)))} numbers", refusal.ASK_AGAIN
            )
        return found.pop()


def pack(vectors: list[list[float] | None], dimension: int) -> bytes:
    """Rows of float32, little endian; what is None is a row of NaN."""
    numbers = array("f")
    for vector in vectors:
        numbers.extend(vector if vector is not None else [NAN] * dimension)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
