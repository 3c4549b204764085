"""The threads that compute a model's steps: sets their number before each, and measures what it took and what they had.

It knows clocks, and a library as something that takes a number; which number is the best is found by threads.py.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from llmctld.engine.cost.step_cost import passes
from llmctld.engine.cost.threads import Threads
from llmctld.engine.messages import Load
from llmctld.engine.streams.sequence import Chunk

T = TypeVar("T")


class Crew:
    """Steps with a part of a prompt, and those of sequences that generate, have numbers of their own: the former compute
    and the latter read the weights, which more threads may not do faster. `use` tells the library the number."""

    def __init__(self, load: Load, on_gpu: bool, use: Callable[[int], None]) -> None:
        self._most, self._batch, self._use = load.threads, load.batch, use
        fewer = load.fewer_threads and not on_gpu  # where a GPU computes, the processors are idle for another reason
        self._prompts, self._texts = Threads(load.threads, fewer), Threads(load.threads, fewer)

    def compute(self, chunks: list[Chunk], decode: Callable[[], T]) -> T:
        """What `decode` returns.

        A request that is to be repeatable has all threads, always: over 512 cells llama.cpp attends in one part for each
        thread, and sums them up.
        """
        if any(chunk.sequence.alone for chunk in chunks):
            self._use(self._most)
            return decode()
        rows = {chunk.stream: chunk.count + len(chunk.draft) for chunk in chunks}
        threads = self._texts if all(chunk.count == 1 for chunk in chunks) else self._prompts
        # a library that takes prompts in parts itself is handed more than it computes at once
        return step(threads, self._use, passes(rows), min(sum(rows.values()), max(self._batch, len(rows))), decode)


def step(threads: Threads, use: Callable[[int], None], passes: int, rows: int, decode: Callable[[], T]) -> T:
    """What `decode` returns, which goes so often through the weights, for so many rows."""
    count = threads.count
    use(count)
    began, had = time.monotonic(), time.process_time()
    outcome = decode()
    took, had = time.monotonic() - began, time.process_time() - had
    threads.measured(passes, rows, took * 1e3, had / max(took * count, 1e-9))
    return outcome
