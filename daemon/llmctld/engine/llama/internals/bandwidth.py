"""Measures how fast the weights of a token's step are read: products of matrices, with long rows and with short ones.

Runs in a child (`python -m llmctld.engine.llama.internals.bandwidth THREADS BYTES`), since llama.cpp computes them with the
kernels and threads of a loaded model. Prints a line of JSON for the processor, and one for the first GPU if there is one.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import cycle
from typing import NamedTuple

import llama_cpp.llama_cpp as lib

from llmctld.engine.llama.internals import ggml
from llmctld.engine.llama.internals.kernels import TYPES

KINDS = ("Q4_K", "Q8_0")
"""Types of the matrices in turn: a Q4_K_M file of a small model holds about as many bytes of each precision."""
LONG, SHORT = (4096, 4096), (512, 8192)
"""Columns and rows of the matrices. The kernels compute row by row, and each row costs time besides that of its bytes."""
ROWS_AT_MOST = 0.25
"""Share of a pass with long rows. More is noise: one of the two passes was disturbed."""
PASSES_S = 0.25
"""Passes are made for so long, at least two; the fastest counts. The first one finds memory that was never used."""


class Pass(NamedTuple):
    """One product of each matrix."""

    bytes: int
    rows: int
    seconds: float


class Cost(NamedTuple):
    """Bytes per second, and seconds that each row takes in addition."""

    rate: float
    row_s: float


def cost(long: Pass, short: Pass) -> Cost:
    """The two terms that explain both passes; rows take from none to ROWS_AT_MOST of the time of the pass with long ones."""
    scale = long.bytes * short.rows - short.bytes * long.rows
    row_s = (long.bytes * short.seconds - short.bytes * long.seconds) / scale
    row_s = min(max(row_s, 0.0), ROWS_AT_MOST * long.seconds / long.rows)
    return Cost(long.bytes / (long.seconds - row_s * long.rows), row_s)


def measured(device: int, threads: int, size: int) -> Cost:
    """`size`: bytes of all matrices, which must not fit in the processor's cache."""
    return cost(*(_products(device, threads, size, *shape) for shape in (LONG, SHORT)))


def _products(device: int, threads: int, size: int, columns: int, rows: int) -> Pass:
    held, work = (ggml.begin(ggml.GgmlInitParams(2**21, None, True)) for _ in range(2))
    matrices, total = [], 0
    for name in cycle(KINDS):
        matrices.append(ggml.tensor(held, TYPES[name], columns, rows))
        total += ggml.row_bytes(TYPES[name], columns) * rows
        if total >= size:
            break
    vector, graph = ggml.tensor(work, ggml.F32, columns, 1), ggml.graph(work)
    for matrix in matrices:
        ggml.expand(graph, ggml.product(work, matrix, vector))
    buffers = [ggml.lay(context, ggml.buffers_of(device)) for context in (held, work)]
    if not all(buffers):
        raise MemoryError
    for buffer in buffers:
        ggml.clear(buffer, 0)
    backend = ggml.start(device, None)
    clock: Callable[[], float] = time.perf_counter
    if device == ggml.cpu():
        ggml.set_threads(backend, threads)
        # the processors' time, not the wall's: other programs that run just now would count as slow memory for ever
        clock = lambda: time.process_time() / threads  # noqa: E731
    seconds = _fastest(backend, graph, clock)
    for buffer in buffers:
        ggml.free_buffer(buffer)
    return Pass(total, len(matrices) * rows, seconds)


def _fastest(backend: int, graph: int, clock: Callable[[], float]) -> float:
    """Seconds of the fastest pass."""
    passes: list[float] = []
    while len(passes) < 2 or sum(passes) < PASSES_S:
        began = clock()
        if (status := ggml.compute(backend, graph)) != 0:
            raise RuntimeError(f"the library returned {status}")
        passes.append(clock() - began)
    return min(passes)


def main(threads: int, size: int) -> None:
    lib.llama_backend_init()
    _say("host", measured(ggml.cpu(), threads, size), False)
    for gpu in ggml.devices()[:1]:
        _say("gpu", measured(gpu.handle, threads, size), gpu.shared)


def _say(where: str, found: Cost, shared: bool) -> None:
    """`shared`: a GPU that uses host memory."""
    line = {"where": where, **found._asdict(), "shared": shared}
    print(json.dumps(line), flush=True)  # noqa: T201 - this is its output


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
