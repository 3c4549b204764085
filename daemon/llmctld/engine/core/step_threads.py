"""Threads of a model's steps: sets their number before each step, and measures time and processor share.

It reads clocks, and passes the number to the library. cost/threads.py chooses the number.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from llmctld.engine.cost.step_cost import passes
from llmctld.engine.cost.threads import Threads
from llmctld.engine.messages import Load
from llmctld.engine.streams.sequence import Chunk

T = TypeVar("T")


class StepThreads:
    """Prompt steps and generating steps have separate thread counts: prompt steps are bound by compute, generating steps by
    reading the weights, which more threads may not speed up. `use` sets the library's number. A fixed number is not measured."""

    def __init__(self, load: Load, on_gpu: bool, use: Callable[[int], None]) -> None:
        self._most, self._batch, self._use = load.threads, load.batch, use
        self._fewer = load.fewer_threads and not on_gpu  # on a GPU, idle processors say nothing about competition
        self._prompts, self._texts = Threads(load.threads, self._fewer), Threads(load.threads, self._fewer)

    def compute(self, chunks: list[Chunk], decode: Callable[[], T]) -> T:
        """Call `decode` and return its result.

        A repeatable request (`--repro`) always gets all threads: above 512 cells, llama.cpp splits attention into one part per
        thread and adds up the parts, so the count changes rounding.
        """
        if not self._fewer or any(chunk.sequence.alone for chunk in chunks):
            self._use(self._most)
            return decode()
        rows = {chunk.stream: chunk.count + len(chunk.draft) for chunk in chunks}
        threads = self._texts if all(chunk.count == 1 for chunk in chunks) else self._prompts
        # transformers splits prompts itself, so it gets more rows than it computes at once
        return step(threads, self._use, passes(rows), min(sum(rows.values()), max(self._batch, len(rows))), decode)


def step(threads: Threads, use: Callable[[int], None], passes: int, rows: int, decode: Callable[[], T]) -> T:
    """Call `decode`, which makes `passes` passes with `rows` rows, and return its result."""
    count = threads.count
    use(count)
    began, had = time.monotonic(), time.process_time()
    outcome = decode()
    took, had = time.monotonic() - began, time.process_time() - had
    threads.measured(passes, rows, took * 1e3, had / max(took * count, 1e-9))
    return outcome
