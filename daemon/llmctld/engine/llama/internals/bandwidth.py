"""Measures how many bytes of weights a token's step can read per second: products of large matrices with one vector.

Runs in a child (`python -m llmctld.engine.llama.internals.bandwidth THREADS BYTES`), since llama.cpp computes them with the
kernels and threads of a loaded model. Prints a line of JSON for the processor, and one for the first GPU if there is one.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import cycle

import llama_cpp.llama_cpp as lib

from llmctld.engine.llama.internals import ggml
from llmctld.engine.llama.internals.kernels import TYPES

KINDS = ("Q4_K", "Q8_0")
"""Types of the matrices in turn: a Q4_K_M file of a small model holds about as many bytes of each precision."""
COLUMNS, ROWS = 2048, 2048
PASSES_S = 0.4
"""Passes are made for so long, at least two; the fastest counts. The first one finds memory that was never used."""


def bytes_per_second(device: int, threads: int, size: int) -> float:
    """`size`: bytes of all matrices, which must not fit in the processor's cache. Memory is freed at the end of the process."""
    held, work = (ggml.begin(ggml.GgmlInitParams(2**21, None, True)) for _ in range(2))
    matrices, total = [], 0
    for name in cycle(KINDS):
        matrices.append(ggml.tensor(held, TYPES[name], COLUMNS, ROWS))
        total += ggml.row_bytes(TYPES[name], COLUMNS) * ROWS
        if total >= size:
            break
    vector, graph = ggml.tensor(work, ggml.F32, COLUMNS, 1), ggml.graph(work)
    for matrix in matrices:
        vector = ggml.product(work, matrix, vector)
    ggml.expand(graph, vector)
    for context in (held, work):
        buffer = ggml.lay(context, ggml.buffers_of(device))
        if not buffer:
            raise MemoryError
        ggml.clear(buffer, 0)
    backend = ggml.start(device, None)
    if device != ggml.cpu():
        return total / _fastest(backend, graph, time.perf_counter)
    ggml.set_threads(backend, threads)
    # the processors' time, not the wall's: other programs that run just now would count as slow memory for ever
    return total / _fastest(backend, graph, lambda: time.process_time() / threads)


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
    _say("host", bytes_per_second(ggml.cpu(), threads, size), False)
    for gpu in ggml.devices()[:1]:
        _say("gpu", bytes_per_second(gpu.handle, threads, size), gpu.shared)


def _say(where: str, rate: float, shared: bool) -> None:
    """`shared`: a GPU that uses host memory."""
    print(json.dumps({"where": where, "rate": rate, "shared": shared}), flush=True)  # noqa: T201 - this is its output


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
