"""Embeddings of a remote endpoint: from an answer's JSON to rows of float32, each where its text was.

It knows no connection, and no numpy: the hub loads none.
"""

import math
import sys
from array import array
from base64 import b64decode
from typing import Any

from llmctl.errors import EngineFailed, from_code
from llmctld.engine.messages import Flaw
from llmctld.models.remote.http import refusal
from llmctld.models.remote.http.breaker import AttemptFailed
from llmctld.models.remote.http.lenient_json import count, mapping, number

LARGEST = 3.4028234663852886e38
"""That a float32 can hold."""
NAN = math.nan


def read_vectors(found: Any, texts: int, who: str) -> tuple[list[list[float]], int]:
    """A vector for each of so many texts, in their order, all of one length; and the tokens that were counted.

    Raises AttemptFailed for anything else.
    """
    outer = mapping(found)
    listed = found if isinstance(found, list) else outer.get("data") or outer.get("embeddings")
    placed = [_placed(each, place) for place, each in enumerate(listed if isinstance(listed, list) else [])]
    vectors = dict(placed)
    lengths = {len(vector) for vector in vectors.values()}
    if sorted(vectors) != list(range(texts)) or len(placed) != texts or len(lengths) != 1 or 0 in lengths:
        message = f"{who} gives {len(placed)} vectors with {sorted(lengths)} numbers for {texts} texts"
        raise AttemptFailed(EngineFailed(message, refusal.ASK_AGAIN), again=False)
    usage = mapping(outer.get("usage"))
    counted = (count(usage.get(name)) for name in ("prompt_tokens", "input_tokens", "total_tokens"))
    return [vectors[index] for index in range(texts)], next((tokens for tokens in counted if tokens), 0)


def _placed(each: Any, place: int) -> tuple[int, list[float]]:
    """Where a vector belongs, and the vector."""
    if not isinstance(each, dict):
        return place, _vector(each)
    index = count(each.get("index"))
    return place if index is None else index, _vector(each.get("embedding"))


def _vector(value: Any) -> list[float]:
    """Of numbers, of a list that holds nothing but the list of them, of an object around it, or of float32 in base64.

    [] for anything else, and where a number is none that a float32 can hold.
    """
    if isinstance(value, dict):
        value = next((value[name] for name in ("values", "float", "base64") if value.get(name)), None)
    if isinstance(value, str):
        value = _unpacked(value)
    if not isinstance(value, list):
        return []
    if len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    numbers = [found for each in value if (found := number(each)) is not None and abs(found) <= LARGEST]
    return numbers if len(numbers) == len(value) else []


def _unpacked(text: str) -> list[float]:
    """The numbers in base64, which some send though plain ones were asked for: little endian, as everywhere."""
    numbers = array("f")
    try:
        numbers.frombytes(b64decode(text, validate=True))
    except ValueError:
        return []
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def unit(vector: list[float]) -> list[float]:
    """Of length 1, but for one that has no direction."""
    length = math.sqrt(math.fsum(number * number for number in vector))
    return [number / length for number in vector] if length else vector


class CollectedVectors:
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
