"""How an engine is loaded and timed: clients in a closed loop, a trace of arrivals, streams beside one long prompt.

It knows an engine as something that opens clients; the clock is this side's, so every engine is measured alike.
"""

import itertools
import statistics
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from typing import NamedTuple, Protocol

from tests.bench.engine.prompts import Arrival
from tests.bench.measure import percentile

Prompt = list[int] | str
SETTLED = 8
"""Tokens that each stream has received before the long prompt comes."""


class Use(NamedTuple):
    """Tokens of one answer, and of its prompt those that were not taken from what was computed before."""

    generated: int
    computed: int


class Talk(Protocol):
    """One client's connection; for one thread."""

    def ask(self, prompt: Prompt, generated: int) -> Use:
        """Waits for the whole greedy answer, which has exactly `generated` tokens."""

    def stream(self, prompt: Prompt, generated: int) -> Generator[None, None, None]:
        """One item for each piece as it comes. Closing the iterator cancels."""


class Engine(Protocol):
    """Something that answers."""

    def talk(self) -> AbstractContextManager[Talk]:
        """A new client."""


class Outcome(NamedTuple):
    """What a closed loop came to."""

    tokens_per_second: float
    computed: int


class Stall(NamedTuple):
    """Others' 95th percentile of the time between two tokens while a long prompt is computed; its own first token."""

    gap_ms: float
    first_ms: float


def closed_loop(engine: Engine, prompts: Sequence[Prompt], clients: int, generated: int) -> Outcome:
    """Each client takes the next prompt once it has its answer, until all are answered."""
    todo, lock = iter(prompts), threading.Lock()

    def client() -> list[Use]:
        uses: list[Use] = []
        with engine.talk() as talk:
            while True:
                with lock:
                    prompt = next(todo, None)
                if prompt is None:
                    return uses
                uses.append(talk.ask(prompt, generated))

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client) for _ in range(clients)]
        uses = [use for future in running for use in future.result()]
    elapsed = time.perf_counter() - start
    return Outcome(sum(use.generated for use in uses) / elapsed, sum(use.computed for use in uses))


def decoding(engine: Engine, prompt: Prompt, generated: int) -> float:
    """Tokens per second of one answer, without what stands before its first token: an answer of one token is taken off."""
    with engine.talk() as talk:
        begin = time.perf_counter()
        talk.ask(prompt, 1)
        between = time.perf_counter()
        talk.ask(prompt, generated + 1)
        return generated / (time.perf_counter() - between - (between - begin))


def first_piece(engine: Engine, prompt: Prompt) -> float:
    """Seconds until the first piece of an answer is here."""
    begin = time.perf_counter()
    with engine.talk() as talk, closing(talk.stream(prompt, 16)) as pieces:
        next(pieces)
        return time.perf_counter() - begin


def trace(engine: Engine, traces: Sequence[Sequence[Arrival]]) -> float:
    """The median over all requests of their milliseconds per generated token."""
    clock = threading.Event()  # never set: the pauses are the load itself

    def client(arrivals: Sequence[Arrival]) -> list[float]:
        samples = []
        with engine.talk() as talk:
            for arrival in arrivals:
                clock.wait(arrival.pause)
                start = time.perf_counter()
                use = talk.ask(arrival.prompt, arrival.generated)
                samples.append((time.perf_counter() - start) * 1e3 / use.generated)
        return samples

    with ThreadPoolExecutor(len(traces)) as pool:
        return statistics.median(sample for samples in pool.map(client, traces) for sample in samples)


def stall(engine: Engine, beside: Sequence[Prompt], long: Prompt, enough: int) -> Stall:
    """Streams of at most `enough` tokens run; then comes the long prompt, and they end with its first token."""
    settled, over = threading.Barrier(len(beside) + 1, timeout=120), threading.Event()

    def client(prompt: Prompt) -> list[float]:
        times: list[float] = []
        with engine.talk() as talk, closing(talk.stream(prompt, enough)) as pieces:
            for _ in pieces:
                times.append(time.perf_counter())
                if len(times) == SETTLED:
                    settled.wait()
                if over.is_set():
                    return times
        raise RuntimeError(f"a stream of {enough} tokens ended before the long prompt was computed")

    with ThreadPoolExecutor(len(beside)) as pool:
        running = [pool.submit(client, prompt) for prompt in beside]
        settled.wait()
        with engine.talk() as talk:
            sent = time.perf_counter()
            with closing(talk.stream(long, 2)) as pieces:
                next(pieces, None)  # a first token that is half a character comes with the end
                first = time.perf_counter()
                over.set()
        gaps = [gap for future in running for gap in gaps_within(future.result(), sent, first)]
    return Stall(percentile(gaps, 0.95) * 1e3, (first - sent) * 1e3)


def gaps_within(times: Sequence[float], begin: float, end: float) -> list[float]:
    """The times between two tokens that touch the span, those that reach over its edges included."""
    return [after - before for before, after in itertools.pairwise(times) if after > begin and before < end]
