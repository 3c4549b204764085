"""Continuous batching as a pure machine: nobody starves, nothing is lost, and the step's budget holds."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from llmctld.engine.scheduler import PREFILL_WHILE_DECODING, Scheduler
from llmctld.engine.sequence import Chunk, Sequence


def request(id: int, prompt: int, max_tokens: int = 4) -> Sequence:
    return Sequence(id, list(range(prompt)), prompt, max_tokens)


def compute(scheduler: Scheduler) -> list[Chunk]:
    """One step of a model that always says 7."""
    scheduler.admit()
    scheduler.pack()
    if not scheduler.waiting:
        assert {sequence.stream for sequence in scheduler.running.values()} == set(range(len(scheduler.running)))
    chunks = scheduler.plan()
    for chunk in chunks:
        samples = chunk.samples
        scheduler.advance(chunk)
        if samples:
            chunk.sequence.add(7, 0.0)
            if chunk.sequence.is_full:
                scheduler.finish(chunk.sequence)
    scheduler.check()
    return chunks


def counts(chunks: list[Chunk]) -> dict[int, int]:
    return {chunk.sequence.id: chunk.count for chunk in chunks}


def test_a_lone_prompt_takes_the_whole_budget_of_a_step() -> None:
    scheduler = Scheduler(slots=2, batch=100)
    scheduler.submit(request(1, prompt=250))
    assert [counts(compute(scheduler)) for _ in range(4)] == [{1: 100}, {1: 100}, {1: 50}, {1: 1}]


def test_a_long_prompt_does_not_stall_who_generates() -> None:
    scheduler = Scheduler(slots=2, batch=512)
    scheduler.submit(request(1, prompt=3, max_tokens=50))
    compute(scheduler)
    scheduler.submit(request(2, prompt=1000))
    step = counts(compute(scheduler))
    assert step == {1: 1, 2: PREFILL_WHILE_DECODING}


def test_prompts_share_a_step_in_order_of_arrival() -> None:
    scheduler = Scheduler(slots=3, batch=100)
    for id, prompt in ((1, 30), (2, 90), (3, 40)):
        scheduler.submit(request(id, prompt))
    assert counts(compute(scheduler)) == {1: 30, 2: 70}
    assert counts(compute(scheduler)) == {1: 1, 2: 20, 3: 40}


def test_a_request_joins_in_the_lowest_stream_that_another_left() -> None:
    scheduler = Scheduler(slots=3, batch=100)
    for id in (1, 2, 3, 4):
        scheduler.submit(request(id, prompt=2))
    compute(scheduler)
    assert list(scheduler.waiting) == [4]
    scheduler.cancel(2)
    chunks = compute(scheduler)
    assert [(chunk.stream, chunk.sequence.id) for chunk in chunks] == [(0, 1), (1, 4), (2, 3)]


def test_the_running_are_packed_when_nobody_is_there_to_fill_a_gap() -> None:
    scheduler = Scheduler(slots=4, batch=100)
    for id in (1, 2, 3, 4):
        scheduler.submit(request(id, prompt=2))
    compute(scheduler)
    scheduler.cancel(1)
    scheduler.cancel(3)
    assert scheduler.pack() == [(3, 0)]
    assert [(chunk.stream, chunk.sequence.id) for chunk in compute(scheduler)] == [(0, 4), (1, 2)]
    assert scheduler.pack() == []


def test_requests_are_admitted_in_the_order_they_came() -> None:
    scheduler = Scheduler(slots=1, batch=100)
    for id in (5, 3, 4):
        scheduler.submit(request(id, prompt=2, max_tokens=1))
    assert [list(counts(compute(scheduler))) for _ in range(3)] == [[5], [3], [4]]


def test_an_id_that_is_in_use_is_refused() -> None:
    scheduler = Scheduler(slots=1, batch=10)
    scheduler.submit(request(1, prompt=2))
    with pytest.raises(ValueError, match="request 1"):
        scheduler.submit(request(1, prompt=2))


def test_check_finds_a_slot_that_was_given_back_twice_or_never() -> None:
    scheduler = Scheduler(slots=2, batch=10)
    scheduler.submit(request(1, prompt=2))
    scheduler.admit()
    del scheduler.running[1]
    with pytest.raises(RuntimeError, match="slots"):
        scheduler.check()


class Machine(RuleBasedStateMachine):
    """Any order of submit, cancel and step; at the end everything has ended exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(slots=3, batch=80)
        self.submitted = 0
        self.ended: list[int] = []

    @rule(prompt=st.integers(1, 200), max_tokens=st.integers(1, 6))
    def submit(self, prompt: int, max_tokens: int) -> None:
        self.submitted += 1
        self.scheduler.submit(request(self.submitted, prompt, max_tokens))

    @rule(pick=st.integers(1, 40))
    def cancel(self, pick: int) -> None:
        here = pick in self.scheduler.waiting or pick in self.scheduler.running
        cancelled = self.scheduler.cancel(pick)
        assert (cancelled is not None) == here
        if cancelled is not None:
            self.ended.append(cancelled.id)

    @precondition(lambda self: not self.scheduler.idle)
    @rule()
    def step(self) -> None:
        self.scheduler.admit()
        decoding = {id for id, sequence in self.scheduler.running.items() if sequence.is_decoding}
        before = set(self.scheduler.running)
        chunks = compute(self.scheduler)
        self.ended += before - set(self.scheduler.running)
        assert chunks, "requests run, but nothing is computed"
        self.judge(chunks, decoding)

    def judge(self, chunks: list[Chunk], decoding: set[int]) -> None:
        tokens = counts(chunks)
        assert sum(tokens.values()) <= self.scheduler.batch
        assert {id: tokens.get(id) for id in decoding} == dict.fromkeys(decoding, 1)
        if decoding:
            assert sum(count for id, count in tokens.items() if id not in decoding) <= PREFILL_WHILE_DECODING
        streams = [chunk.stream for chunk in chunks]
        assert streams == sorted(set(streams))

    @invariant()
    def sound(self) -> None:
        self.scheduler.check()

    @invariant()
    def nothing_is_lost(self) -> None:
        here = [*self.scheduler.waiting, *self.scheduler.running]
        assert sorted([*here, *self.ended]) == list(range(1, self.submitted + 1))

    def teardown(self) -> None:
        for _ in range(10_000):
            if self.scheduler.idle:
                break
            self.step()
        assert sorted(self.ended) == list(range(1, self.submitted + 1))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
