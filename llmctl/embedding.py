"""Splits texts into `embed` requests that the hub answers soon, and the replies into vectors.

It knows the two messages; it opens no socket and prints nothing.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator

import msgspec

from llmctl import wire
from llmctl.errors import LlmctlError, from_code

TEXTS_AT_ONCE = 64
"""Texts in one request: few, so that the first vectors come soon and other users are served in between."""
BYTES_AT_ONCE = 2**20
"""Most bytes of its texts, unless a single text has more."""
REQUESTS_AT_ONCE = 3
"""Requests under way at once, so that the engine never waits for the next."""


class Vector(msgspec.Struct, frozen=True):
    """The `index`th text's vector (float32), or the error that it met instead."""

    index: int
    values: "array[float]"
    error: LlmctlError | None = None


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in order, in groups of one request each."""
    batch: list[str] = []
    size = 0
    for text in texts:
        length = len(text.encode("utf-8", "surrogatepass"))
        if batch and (len(batch) == TEXTS_AT_ONCE or size + length > BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += length
    if batch:
        yield batch


def vectors_of(result: wire.AnyResult, first: int) -> Iterator[Vector]:
    """The vectors of a request whose first text has the index `first`."""
    if not isinstance(result, wire.Embeddings):
        raise from_code("unreachable", f"the hub answered with {type(result).__name__}", "")
    numbers = array("f", result.vectors)
    if sys.byteorder == "big":
        numbers.byteswap()
    flaws = {flaw.index: flaw for flaw in result.flaws}
    for row in range(len(numbers) // result.dimension):
        flaw = flaws.get(row)
        error = None if flaw is None else from_code(flaw.code, flaw.message, flaw.hint)
        yield Vector(first + row, numbers[row * result.dimension : (row + 1) * result.dimension], error)


def flaw_error(vector: Vector, more: str = "") -> LlmctlError:
    """The error of a text without a vector, with the index of the text."""
    error = vector.error
    assert error is not None
    return from_code(error.code, f"text {vector.index}: {error.message}{more}", error.hint)
