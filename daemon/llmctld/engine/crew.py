"""The threads of one llama.cpp context: sets their number before each step, and measures what it took and what they had.

It knows the library's call and the clocks; which number is the best is found by threads.py.
"""

import time
from collections.abc import Callable
from typing import Any

import llama_cpp.llama_cpp as lib

from llmctld.engine.messages import Load
from llmctld.engine.sequence import Chunk
from llmctld.engine.speculation import passes
from llmctld.engine.threads import Threads


class Crew:
    """Steps with a part of a prompt, and those of sequences that generate, have numbers of their own: the former compute
    and the latter read the weights, which more threads may not do faster."""

    def __init__(self, load: Load, on_gpu: bool) -> None:
        self._most = load.threads
        fewer = load.fewer_threads and not on_gpu  # where a GPU computes, the processors are idle for another reason
        self._prompts, self._texts = Threads(load.threads, fewer), Threads(load.threads, fewer)

    def compute(self, context: Any, chunks: list[Chunk], decode: Callable[[], int]) -> int:
        """What `decode` returns.

        A request that is to be repeatable has all threads, always: over 512 cells llama.cpp attends in one part for each
        thread, and sums them up.
        """
        if any(chunk.sequence.alone for chunk in chunks):
            lib.llama_set_n_threads(context, self._most, self._most)
            return decode()
        rows = {chunk.stream: chunk.count + len(chunk.draft) for chunk in chunks}
        threads = self._texts if all(chunk.count == 1 for chunk in chunks) else self._prompts
        return step(context, threads, passes(rows), sum(rows.values()), decode)


def step(context: Any, threads: Threads, passes: int, rows: int, decode: Callable[[], int]) -> int:
    """What `decode` returns, which goes so often through the weights, for so many rows."""
    count = threads.count
    lib.llama_set_n_threads(context, count, count)
    began, had = time.monotonic(), time.process_time()
    status = decode()
    took, had = time.monotonic() - began, time.process_time() - had
    threads.measured(passes, rows, took * 1e3, had / max(took * count, 1e-9))
    return status
