"""Fits a model's shape into the given memory: retained streams shrink first, then slots, then the context.

It knows byte counts and reads no files. It describes what was reduced.
"""

import math
from dataclasses import dataclass, replace

from llmctld.engine.errors import LoadError

CELLS = 256
"""llama.cpp rounds the context of a stream up to a multiple of this."""
LEAST_CONTEXT = 512
"""Below this a model is of no use: refusing to load is better than refusing every prompt."""

GPU_SHARE = 0.9


@dataclass(frozen=True)
class Shape:
    """Requests that run together, tokens that each may use, and streams for prefixes of ended requests."""

    slots: int
    context: int
    retained: int = 0

    @property
    def streams(self) -> int:
        return self.slots + self.retained

    @property
    def stream_cells(self) -> int:
        return -(-self.context // CELLS) * CELLS

    @property
    def cells(self) -> int:
        return self.streams * self.stream_cells


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes: what may be used, what is needed for any shape (the weights), and one KV cell over all layers.

    Sliding-window layers have `window` cells per stream regardless of the context, of `near` bytes each.
    """

    limit: int
    fixed: int
    cell: int
    near: int = 0
    window: int = 0

    def needs(self, shape: Shape) -> int:
        return self.fixed + shape.streams * self.stream(shape)

    def stream(self, shape: Shape) -> int:
        return self.cell * shape.stream_cells + self.near * min(self.window, shape.stream_cells)

    def beside(self, other: "MemoryNeeds") -> "MemoryNeeds":
        """With the needs of a draft model of the same shape."""
        return replace(self, fixed=self.fixed + other.fixed, cell=self.cell + other.cell)

    def corrected(self, shape: Shape, measured: int) -> "MemoryNeeds":
        """A shape took more than predicted: raise the cell size, so that the next try is smaller."""
        if not self.near:
            return MemoryNeeds(self.limit, self.fixed, -(-(measured - self.fixed) // shape.cells))
        dearer = (measured - self.fixed) / (self.needs(shape) - self.fixed)
        return replace(self, cell=math.ceil(self.cell * dearer), near=math.ceil(self.near * dearer))


def fit(name: str, wanted: Shape, memory: MemoryNeeds) -> Shape:
    """The largest shape, at most `wanted`, that fits. Raises LoadError with both numbers if none does."""
    for streams in range(wanted.streams, 0, -1):
        slots = min(wanted.slots, streams)
        shape = Shape(slots, wanted.context, streams - slots)
        if memory.needs(shape) <= memory.limit:
            return shape
    least = Shape(1, min(wanted.context, LEAST_CONTEXT))
    contexts = (wanted.context, *range((wanted.context - 1) // CELLS * CELLS, 0, -CELLS))
    context = next((each for each in contexts if memory.needs(Shape(1, each)) <= memory.limit), 0)
    if context < least.context:
        raise LoadError(
            f"{name} does not fit in memory: it needs about {mebibytes(memory.needs(least))} "
            f"with one request of {least.context} tokens, but may use only {mebibytes(memory.limit)}",
            "Unload another model, raise `limits.memory_bytes`, or use a smaller file.",
        )
    return Shape(1, context)


def notice(name: str, wanted: Shape, shape: Shape, memory: MemoryNeeds) -> str:
    """What was reduced, with the numbers; empty if nothing was."""
    pairs = (
        ("retained", wanted.retained, shape.retained),
        ("slots", wanted.slots, shape.slots),
        ("context", wanted.context, shape.context),
    )
    changes = [f"{word} {before} -> {after}" for word, before, after in pairs if before != after]
    if not changes:
        return ""
    needed, limit = mebibytes(memory.needs(wanted)), mebibytes(memory.limit)
    return f"{name}: {', '.join(changes)}, because it needs about {needed}, but may use only {limit}"


def gpu_room(limit: int | None, total: int, free: int) -> int:
    """Bytes that another model may take of a GPU on which all models may hold `limit`. Without a limit, 90 % of the GPU:
    libraries keep buffers of their own there."""
    return max(0, min(int(total * GPU_SHARE) if limit is None else limit, total) - (total - free))


def mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
