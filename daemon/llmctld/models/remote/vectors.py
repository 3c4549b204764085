"""Reads embeddings from an endpoint's JSON and packs them as rows of float32, in the order of the texts.

Uses no numpy: the hub does not load it.
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
"""Largest float32."""
NAN = math.nan


def read_vectors(found: Any, texts: int, who: str) -> tuple[list[list[float]], int]:
    """One vector per text, in order and all of one length; and the token count.

    Raises AttemptFailed for anything else.
    """
    outer = mapping(found)
    listed = found if isinstance(found, list) else outer.get("data") or outer.get("embeddings")
    placed = [_placed(each, place) for place, each in enumerate(listed if isinstance(listed, list) else [])]
    vectors = dict(placed)
    lengths = {len(vector) for vector in vectors.values()}
    if sorted(vectors) != list(range(texts)) or len(placed) != texts or len(lengths) != 1 or 0 in lengths:
        message = f"{who} returned {len(placed)} vectors with {sorted(lengths)} numbers for {texts} texts"
        raise AttemptFailed(EngineFailed(message, refusal.ASK_AGAIN), again=False)
    usage = mapping(outer.get("usage"))
    counted = (count(usage.get(name)) for name in ("prompt_tokens", "input_tokens", "total_tokens"))
    return [vectors[index] for index in range(texts)], next((tokens for tokens in counted if tokens), 0)


def _placed(each: Any, place: int) -> tuple[int, list[float]]:
    """(index of the text, vector)."""
    if not isinstance(each, dict):
        return place, _vector(each)
    index = count(each.get("index"))
    return place if index is None else index, _vector(each.get("embedding"))


def _vector(value: Any) -> list[float]:
    """A vector from numbers, from a list around them, from an object, or from float32 in base64.

    [] for anything else, or if a number exceeds float32.
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
    """Little-endian float32 in base64, which some servers send even if plain numbers are requested."""
    numbers = array("f")
    try:
        numbers.frombytes(b64decode(text, validate=True))
    except ValueError:
        return []
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def unit(vector: list[float]) -> list[float]:
    """The vector scaled to length 1; a zero vector is returned unchanged."""
    length = math.sqrt(math.fsum(number * number for number in vector))
    return [number / length for number in vector] if length else vector


class CollectedVectors:
    """The vectors of the texts as they arrive; None for a text without a vector."""

    def __init__(self, texts: int) -> None:
        self.vectors: list[list[float] | None] = [None] * texts
        self.flaws: list[Flaw] = []
        self.tokens = 0

    def dimension(self, who: str) -> int:
        """The common length. Raises EngineFailed if lengths differ, and the first flaw if there is no vector."""
        found = {len(vector) for vector in self.vectors if vector is not None}
        if not found:
            raise from_code(self.flaws[0].code, self.flaws[0].message, self.flaws[0].hint)
        if len(found) > 1:
            raise EngineFailed(
                f"{who} returned vectors of {' and of '.join(map(str, sorted(found)))} numbers", refusal.ASK_AGAIN
            )
        return found.pop()


def pack(vectors: list[list[float] | None], dimension: int) -> bytes:
    """Rows of little-endian float32; None becomes a row of NaN."""
    numbers = array("f")
    for vector in vectors:
        numbers.extend(vector if vector is not None else [NAN] * dimension)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
