"""Each AMX kernel of the library against its plain kernel, in this process; a line `TYPE DIFFERENCE` for each type of weights.

DIFFERENCE is the largest one of any number, as a share of the spread of all, over products of different numbers of rows.
"""

import llama_cpp.llama_cpp as lib
import numpy as np
from llmctld.engine.llama.internals import ggml, kernels

TOKENS = (1, 2, 15, 16, 17, 32, 33, 70)
"""Rows, about the edges of tiles."""


def difference(trial: kernels.KernelTrial, tokens: int) -> float:
    random = np.random.default_rng(tokens)
    weights, given = (
        random.normal(0, 1, (rows, kernels.COLUMNS)).astype(np.float32) for rows in (kernels.ROWS, tokens)
    )
    plain = kernels.KernelTrial(kernels.PLAIN, ggml.plain_buffers(), trial.type)
    ours, theirs = (kernels.product(each, weights, given) for each in (trial, plain))
    return float(np.abs(ours - theirs).max() / theirs.std())


if __name__ == "__main__":
    lib.llama_backend_init()
    for each in kernels.trials():
        if each.buffers == "AMX":
            print(each.type, max(difference(each, tokens) for tokens in TOKENS), flush=True)  # noqa: T201 - its output
