"""Tries the library's kernels one by one: a small product of matrices for each type of weights, in each kind of buffer.

Runs in a child (`python -m llmctld.engine.llama.internals.kernels [SKIP]`), since a broken kernel ends the process. Prints the
name of each trial before it, and the outcome after it: the last name without an outcome is broken. SKIP: trials to omit.
"""

import ctypes
import sys
from collections.abc import Iterator
from typing import NamedTuple

import llama_cpp.llama_cpp as lib
import numpy as np
from numpy.typing import NDArray

from llmctld.engine import crash
from llmctld.engine.llama.internals import ggml

TYPES = {
    "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14,
    "IQ4_NL": 20, "IQ4_XS": 23, "MXFP4": 39, "F16": 1, "BF16": 30,
}  # fmt: skip
"""Weight types in common use -> the format's number, without those that need an importance matrix."""
PLAIN = "plain"
COLUMNS, ROWS = 512, 64
"""Shape of the weights: whole blocks of every type and whole tiles of every kernel."""
TOKENS = (1, 33)
"""A single token and a prompt, which use different kernels."""
ROUGH = 0.5
"""Largest relative error of the coarsest type; a wrong kernel is off by more."""

Matrix = NDArray[np.float32]
_quantize = ggml.call(
    "ggml_quantize_chunk", ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
    ctypes.c_int64, ctypes.c_void_p,
)  # fmt: skip
_set = ggml.call("ggml_backend_tensor_set", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
_get = ggml.call("ggml_backend_tensor_get", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)


class KernelTrial(NamedTuple):
    """`buffers`: name and handle of the buffer type."""

    buffers: str
    handle: int
    type: str

    @property
    def name(self) -> str:
        return f"{self.buffers} {self.type}"


def trials() -> Iterator[KernelTrial]:
    """Every combination that this processor has kernels for, special ones first."""
    for buffers, handle in ggml.extra_buffers().items():
        for name, kind in TYPES.items():
            if ggml.multiplies(kind, (COLUMNS, ROWS), handle, False):
                yield KernelTrial(buffers, handle, name)
    for name in TYPES:
        yield KernelTrial(PLAIN, ggml.plain_buffers(), name)


def relative_error(trial: KernelTrial, tokens: int) -> float:
    """Relative error of the product; NaN if it is not a number."""
    random = np.random.default_rng(7)
    weights = random.normal(0, 1, (ROWS, COLUMNS)).astype(np.float32)
    given = random.normal(0, 1, (tokens, COLUMNS)).astype(np.float32)
    exact = given @ weights.T
    return float(np.linalg.norm(product(trial, weights, given) - exact) / np.linalg.norm(exact))


def product(trial: KernelTrial, weights: Matrix, given: Matrix) -> Matrix:
    """(tokens, rows), as computed by the library. Its memory is freed at the end of the process."""
    kind = TYPES[trial.type]
    packed = np.zeros(ggml.row_bytes(kind, COLUMNS) * ROWS, np.uint8)
    _quantize(kind, weights.ctypes.data, packed.ctypes.data, 0, ROWS, COLUMNS, None)
    held, work = (ggml.begin(ggml.GgmlInitParams(2**21, None, True)) for _ in range(2))
    matrix = ggml.tensor(held, kind, COLUMNS, ROWS)
    ggml.lay(held, trial.handle)
    _set(matrix, packed.ctypes.data, 0, packed.nbytes)
    asked = ggml.tensor(work, ggml.F32, COLUMNS, len(given))
    result, graph = ggml.product(work, matrix, asked), ggml.graph(work)
    ggml.expand(graph, result)
    ggml.lay(work, ggml.plain_buffers())
    _set(asked, given.ctypes.data, 0, given.nbytes)
    if (status := ggml.compute(ggml.start(ggml.cpu(), None), graph)) != 0:
        raise RuntimeError(f"the library returned {status}")
    found = np.empty((len(given), ROWS), np.float32)
    _get(result, found.ctypes.data, 0, found.nbytes)
    return found


def main(skip: int) -> None:
    lib.llama_backend_init()
    for trial in list(trials())[skip:]:
        print(trial.name, end="", flush=True)  # noqa: T201 - this is its output
        crash.crash_at("kernel", trial.name)
        good = all(relative_error(trial, tokens) < ROUGH for tokens in TOKENS)
        print("", "good" if good else "wrong", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
