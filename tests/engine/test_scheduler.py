"""Continuous batching without a model: no request starves or is lost, and none builds on tokens that are not computed.

The KV memory is a list of lists here, changed by the scheduler's actions: a simple reference for the real one.
"""

from collections.abc import Iterable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from llmctld.engine.core.scheduler import Scheduler
from llmctld.engine.cost.pace import FIRST_CHUNK, STALL_MS, Pace
from llmctld.engine.streams.actions import Action, Copy, Cut, Restore, Save
from llmctld.engine.streams.saved import SavedStates
from llmctld.engine.streams.sequence import BATCH, Chunk, Sequence


def request(id: int, prompt: int | Iterable[int], max_tokens: int = 4, **options: object) -> Sequence:
    """A request with a unique prompt of the given length, or with the given tokens."""
    tokens = list(range(1000 * id, 1000 * id + prompt)) if isinstance(prompt, int) else list(prompt)
    return Sequence(id, tokens, len(tokens), max_tokens, **options)  # type: ignore[arg-type]


TOKEN_MS = 1.0
"""What a token of a prompt takes."""


class Fixed(Pace):
    """Copying is cheap and computing is expensive, so that reusing a prefix always pays."""

    def __init__(self, copy_ms: float = 0.5) -> None:
        super().__init__()
        self.copy_ms = copy_ms


class Machine:
    """A scheduler, the memory that its actions change, and a model that always samples token 7."""

    def __init__(
        self, slots: int, batch: int = 100, streams: int = 0, reuses: bool = True, copy_ms: float = 0.5
    ) -> None:
        self.saved = SavedStates(None, 2**20, 0)
        self.scheduler = Scheduler(slots, batch, streams, reuses, Fixed(copy_ms), self.saved)
        self.memory: list[list[int]] = [[] for _ in range(max(streams, slots))]
        self.computed = 0
        self.copies = 0

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Copy):
                self.copies += 1
                self.memory[action.target] = list(self.memory[action.source])
            elif isinstance(action, Save):
                assert self.memory[action.stream] == action.tokens.tolist()
                state = np.array(self.memory[action.stream], np.int32).tobytes()
                self.saved.put(action.tokens, state, action.lasting)
            elif isinstance(action, Restore):
                entry = self.saved.holding(action.tokens, action.entry)
                assert entry is not None
                self.memory[action.stream] = np.frombuffer(self.saved.get(entry)[1], np.int32).tolist()
            else:
                assert isinstance(action, Cut)
                assert len(self.memory[action.stream]) >= action.keep
                del self.memory[action.stream][action.keep :]

    def step(self) -> list[Chunk]:
        self.do(self.scheduler.admit())
        owned = self.scheduler.streams.owned
        if self.memory and self.scheduler._reuses:
            assert owned == list(range(owned[0], owned[0] + len(owned))) if owned else True, (
                "the running streams are not packed"
            )
        chunks = self.scheduler.plan()
        for chunk in chunks:
            sequence = chunk.sequence
            assert self.memory[chunk.stream] == sequence.tokens[: chunk.start], "it builds on missing tokens"
            self.memory[chunk.stream] += chunk.tokens
            self.computed += chunk.count
            samples = chunk.samples
            self.scheduler.advance(chunk)
            if samples:
                sequence.admitted = 0.0
                sequence.add(7, 0.0)
                if sequence.is_full:
                    self.scheduler.finish(sequence)
        if all(chunk.count == 1 for chunk in chunks):
            self.scheduler.pace.generated()
        else:
            self.scheduler.pace.prompted(chunks[0].count, TOKEN_MS * chunks[0].count)
        self.scheduler.check()
        return chunks

    def run(self, *sequences: Sequence) -> None:
        for sequence in sequences:
            self.scheduler.submit(sequence)
        while not self.scheduler.idle:
            self.step()


def counts(chunks: list[Chunk]) -> dict[int, int]:
    return {chunk.sequence.id: chunk.count for chunk in chunks}


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_single_prompt_uses_the_whole_batch_budget() -> None:
    machine = Machine(slots=2)
    machine.scheduler.submit(request(1, prompt=250))
    assert [counts(machine.step()) for _ in range(4)] == [{1: 100}, {1: 100}, {1: 50}, {1: 1}]


def test_step_computes_one_prompt_or_the_generating_requests() -> None:
    machine = Machine(slots=4, batch=512)
    for id in (1, 2, 3, 4):
        machine.scheduler.submit(request(id, prompt=40, max_tokens=3))
    steps = []
    while not machine.scheduler.idle:
        steps.append(counts(machine.step()))
    assert steps == [{1: 40}, {2: 40}, {3: 40}, {4: 40}, dict.fromkeys((1, 2, 3, 4), 1), dict.fromkeys((1, 2, 3, 4), 1)]


def test_long_prompt_stalls_generation_for_a_bounded_time() -> None:
    machine = Machine(slots=2, batch=512)
    machine.scheduler.submit(request(1, prompt=3, max_tokens=50))
    machine.step()
    machine.scheduler.submit(request(2, prompt=2000, max_tokens=2))
    stalls = [0.0]
    while 2 not in machine.scheduler.running or machine.scheduler.running[2].pending > 1:
        step = counts(machine.step())
        if 1 in step:
            stalls.append(0.0)
        else:
            stalls[-1] += step[2] * TOKEN_MS
    assert max(stalls) <= STALL_MS
    assert len(stalls) <= 2000 * TOKEN_MS / STALL_MS * 1.2, "the prompt takes more steps than necessary"


def test_first_prompt_chunk_is_small_before_any_measurement() -> None:
    scheduler = Scheduler(slots=2, batch=512)
    scheduler.submit(request(1, prompt=1))
    scheduler.submit(request(2, prompt=1000))
    scheduler.admit()
    assert counts(scheduler.plan()) == {2: FIRST_CHUNK}


@pytest.mark.parametrize(("token_ms", "chunk"), [(0.001, 4096), (0.5, 768), (1.0, 384), (6.0, 64), (100.0, 64)])
def test_chunk_size_follows_the_allowed_stall(token_ms: float, chunk: int) -> None:
    pace = Pace()
    pace.prompted(100, 100 * token_ms)
    assert pace.chunk == chunk
    pace.generated()
    assert pace.has_time_for(10**9), "a prompt makes progress, however slow the machine is"
    pace.prompted(1, token_ms)
    assert pace.has_time_for(int((STALL_MS - token_ms) / token_ms))
    assert not pace.has_time_for(int(STALL_MS / token_ms) + 1)


@pytest.mark.parametrize("last", [1362.2, 1378.4, 1378.498, 1384.5, 600.0, 2500.0])
def test_noise_in_equal_steps_does_not_change_the_token_cost(last: float) -> None:
    pace = Pace()
    for tokens, ms in ((512, 1371.9), (512, 1359.8), (512, 1403.8), (466, last)):  # on an overloaded machine
        pace.prompted(tokens, ms)
    assert 2.0 < pace.token_ms < 3.5, "about 1,378 / 512"


def test_fixed_step_cost_is_separated_from_the_token_cost() -> None:
    pace = Pace()
    for tokens in (512, 64, 300, 512, 20, 128):
        pace.prompted(tokens, 40 + 0.5 * tokens)
    assert 0.5 <= pace.token_ms < 0.55, "and not 0.66, the mean"


@pytest.mark.parametrize("tokens", [1, 16, 512])
def test_one_delayed_step_does_not_change_the_token_cost_much(tokens: int) -> None:
    """Delayed by another program for two seconds: the token cost stays within a factor of about 2.5."""
    pace, quiet = Pace(), Pace()
    for size in (512, 300, 512, 20, 128, 512):
        for each in (pace, quiet):
            each.prompted(size, 40 + 0.5 * size)
    pace.prompted(tokens, 2000.0)
    assert 0.4 * quiet.token_ms < pace.token_ms < 2.5 * quiet.token_ms


def test_delayed_first_steps_are_forgotten() -> None:
    pace = Pace()
    for tokens, ms in ((512, 3000.0), (512, 2500.0), (512, 296.0), (300, 190.0)):
        pace.prompted(tokens, ms)
    assert 0.4 < pace.token_ms < 0.7


def test_lasting_slowdown_raises_the_token_cost() -> None:
    pace = Pace()
    for ms in [296.0] * 5 + [2960.0] * 20:
        pace.prompted(512, ms)
    assert pace.token_ms > 4


def test_short_and_long_prompts_take_turns() -> None:
    machine = Machine(slots=3)
    for id, prompt in ((1, 350), (2, 40), (3, 350)):
        machine.scheduler.submit(request(id, prompt, max_tokens=1))
    steps = [counts(machine.step()) for _ in range(8)]
    assert sum(2 in step for step in steps[:2]) == 1
    assert all(len(step) == 1 for step in steps), "prompts of different lengths must not share a batch"
    assert [list(step) for step in steps if 2 not in step][:2] == [[1], [1]]


def test_new_request_takes_the_stream_of_an_ended_one() -> None:
    machine = Machine(slots=3)
    for id in (1, 2, 3, 4):
        machine.scheduler.submit(request(id, prompt=2))
    machine.step()
    assert list(machine.scheduler.waiting) == [4]
    gap = machine.scheduler.running[2].stream
    machine.scheduler.cancel(2)
    machine.step()
    assert machine.scheduler.running[4].stream == gap


def test_running_streams_are_packed_when_no_request_waits() -> None:
    machine = Machine(slots=4, streams=8)
    for id in (1, 2, 3, 4):
        machine.scheduler.submit(request(id, prompt=2, max_tokens=9))
    machine.step()
    begin, _, third, _ = machine.scheduler.streams.owned
    machine.scheduler.cancel(next(id for id, it in machine.scheduler.running.items() if it.stream == begin + 1))
    machine.step()
    assert machine.scheduler.streams.owned == [begin, begin + 1, third]
    assert machine.copies > 0


def test_memory_that_cannot_be_copied_is_neither_copied_nor_saved() -> None:
    machine = Machine(slots=2, reuses=False)
    machine.run(request(1, prompt=50), request(2, prompt=range(1000, 1050)), request(3, prompt=range(1000, 1090)))
    assert (machine.copies, len(machine.saved)) == (0, 0)
    assert machine.computed == 50 + 50 + 90 + 3 * 3


def test_an_id_that_is_in_use_is_refused() -> None:
    scheduler = Scheduler(slots=1, batch=10)
    scheduler.submit(request(1, prompt=2))
    with pytest.raises(ValueError, match="request 1"):
        scheduler.submit(request(1, prompt=2))


def test_check_finds_a_lost_slot() -> None:
    scheduler = Scheduler(slots=2, batch=10)
    scheduler.submit(request(1, prompt=2))
    scheduler.admit()
    del scheduler.running[1]
    with pytest.raises(RuntimeError, match="slots"):
        scheduler.check()


# ---- prefixes --------------------------------------------------------------------------------------------------------


def test_prefix_of_an_ended_request_is_not_computed_again() -> None:
    machine = Machine(slots=1, streams=2)
    first, second = request(1, range(300), 2), request(2, [*range(280), 9, 9, 9], 2)
    machine.run(first)
    machine.run(second)
    assert (first.cached, second.cached) == (0, 280)
    assert machine.computed == 300 + 1 + 3 + 1


def test_repeated_prompt_computes_one_token() -> None:
    machine = Machine(slots=1, streams=2)
    machine.run(request(1, range(300), 1))
    again = request(2, range(300), 1)
    machine.run(again)
    assert (again.cached, machine.computed) == (299, 301)


def test_prefix_of_a_running_request_is_reused() -> None:
    machine = Machine(slots=2, streams=4)
    machine.scheduler.submit(request(1, range(90), 50))
    machine.step()
    second = request(2, [*range(90), 5, 5], 2)
    machine.scheduler.submit(second)
    machine.step()
    assert second.cached == 90
    assert 1 in machine.scheduler.running


def test_generated_tokens_of_a_running_request_are_reused() -> None:
    machine = Machine(slots=2, streams=4)
    machine.scheduler.submit(request(1, range(90), 50))
    for _ in range(10):
        machine.step()
    second = request(2, [*range(90), *[7] * 20], 2)
    machine.scheduler.submit(second)
    machine.step()
    assert second.cached == 99, "90 of the prompt, and the 9 sampled tokens that went through the model"


def test_requests_wait_for_a_shared_prefix_being_computed() -> None:
    machine = Machine(slots=8, streams=8, batch=100)
    shared = list(range(200))
    sequences = [request(id, [*shared, id, id], 2) for id in range(1, 9)]
    machine.run(*sequences)
    assert sorted(sequence.cached for sequence in sequences) == [0] + [200] * 7
    assert machine.computed == 202 + 7 * 2 + 8


def test_request_without_a_shared_prefix_does_not_wait() -> None:
    machine = Machine(slots=3, streams=3, batch=50)
    for sequence in (request(1, range(300)), request(2, [*range(280), 1]), request(3, range(900, 910))):
        machine.scheduler.submit(sequence)
    machine.step()
    assert set(machine.scheduler.running) == {1, 3}


def test_prefix_is_not_copied_if_computing_is_cheaper() -> None:
    machine = Machine(slots=2, streams=4, copy_ms=1000.0)
    machine.scheduler.submit(request(1, range(90), 50))
    machine.step()
    second = request(2, [*range(90), 5, 5], 2)
    machine.scheduler.submit(second)
    machine.step()
    assert (second.cached, machine.copies) == (0, 0)


def test_stream_with_the_least_unique_tokens_is_overwritten() -> None:
    """Four prompts in three streams: one of the two with a shared prefix is overwritten."""
    machine = Machine(slots=1, streams=3)
    machine.run(request(1, range(500), 1))
    machine.run(request(2, [*range(490), 1, 2], 1))
    machine.run(request(3, range(5000, 5400), 1))
    machine.run(request(4, range(7000, 7300), 1))
    again = request(5, [*range(5000, 5400), 1], 1)
    machine.run(again)
    assert again.cached == 400
    other = request(6, [*range(480), 3], 1)
    machine.run(other)
    assert other.cached == 480


def test_evicted_stream_is_saved_and_restored() -> None:
    machine = Machine(slots=1, streams=1)
    machine.run(request(1, range(500), 1))
    machine.run(request(2, range(5000, 5400), 1))
    assert len(machine.saved) == 1
    again = request(3, [*range(490), 3], 1)
    machine.run(again)
    assert again.cached == 490


def test_short_lived_state_is_kept_in_memory_and_never_written_to_disk(tmp_path: Path) -> None:
    saved = SavedStates(tmp_path / "saved", memory_bytes=1000, disk_bytes=10**6)
    brief, lasting = np.arange(10, dtype=np.int32), np.arange(100, 110, dtype=np.int32)
    saved.put(brief, bytes(200), lasting=False)
    saved.put(lasting, bytes(200))
    assert len(saved) == 2
    for number in range(5):
        saved.put(np.array([1000 + number], np.int32), bytes(200), lasting=False)
    assert not saved.match(brief), "memory was full"
    assert list(saved.match(lasting)), "it went into a file"
    assert len(list((tmp_path / "saved").iterdir())) == 1
    saved.check()


def test_state_replaced_by_a_longer_one_is_found_in_the_longer_one() -> None:
    """A longer state with the same prefix is saved after the state was chosen and before it is used."""
    saved = SavedStates(None, 1000, 0)
    short, long = np.arange(10, dtype=np.int32), np.arange(20, dtype=np.int32)
    saved.put(short, bytes(100))
    ((chosen, _),) = saved.match(short).items()
    saved.put(long, bytes(200))
    held = saved.holding(short, chosen)
    assert held is not None
    assert held != chosen
    assert len(saved.get(held)[0]) == 20
    saved.forget(held)
    assert saved.holding(short, chosen) is None


def test_state_with_a_long_unique_suffix_is_saved_to_disk() -> None:
    machine = Machine(slots=1, streams=1)
    machine.run(request(1, range(300), 1))
    seen: list[Save] = []
    for id, prompt in ((2, [*range(250), *range(5000, 5040)]), (3, range(7000, 7300)), (4, range(9000, 9010))):
        machine.scheduler.submit(request(id, prompt, 1))
        actions = machine.scheduler.admit()
        seen += [action for action in actions if isinstance(action, Save)]
        machine.do(actions)
        machine.run()
    assert [(len(save.tokens), save.lasting) for save in seen] == [(300, False), (290, True), (300, True)]


def test_only_long_streams_are_saved_at_shutdown() -> None:
    machine = Machine(slots=2, streams=4)
    machine.run(request(1, range(500), 1), request(2, range(9000, 9020), 1))
    machine.do(machine.scheduler.final_saves())
    (entry,) = machine.saved.match(np.arange(500, dtype=np.int32))
    assert machine.saved.get(entry)[0].tolist() == list(range(500))
    assert len(machine.saved) == 1, "twenty tokens are cheaper to compute than to save"


def test_shared_prefix_of_two_streams_is_saved_once_at_shutdown() -> None:
    """Each has only ten tokens of its own: too few to be saved for."""
    machine = Machine(slots=2, streams=4)
    machine.run(request(1, range(500), 1))
    machine.run(request(2, [*range(490), *range(9000, 9010)], 1))
    machine.do(machine.scheduler.final_saves())
    matches = machine.saved.match(np.arange(490, dtype=np.int32))
    assert list(matches.values()) == [490]


# ---- who is next -----------------------------------------------------------------------------------------------------


def finishing_order(machine: Machine, *sequences: Sequence) -> list[int]:
    for sequence in sequences:
        machine.scheduler.submit(sequence)
    order: list[int] = []
    while not machine.scheduler.idle:
        machine.do(machine.scheduler.admit())
        before = list(machine.scheduler.running)
        machine.step()
        order += [id for id in before if id not in machine.scheduler.running and id not in machine.scheduler.waiting]
    return order


def test_requests_of_one_user_are_served_in_the_order_they_came() -> None:
    assert finishing_order(Machine(slots=1), *(request(id, 2, 1) for id in (5, 3, 4))) == [5, 3, 4]


def test_a_user_with_one_request_does_not_wait_for_a_hundred_of_another() -> None:
    many = [request(id, 20, 5, user="a") for id in range(1, 101)]
    order = finishing_order(Machine(slots=4), *many, request(101, 20, 5, user="b"))
    assert order.index(101) <= 4


def test_users_share_by_tokens_not_by_requests() -> None:
    """One user's long request counts like several short ones of the other."""
    long = [request(id, 300, 1, user="a") for id in range(1, 5)]
    short = [request(id, 30, 1, user="b") for id in range(11, 51)]
    order = finishing_order(Machine(slots=1, reuses=False), *long, *short)
    between = order.index(2) - order.index(1)
    assert 8 <= between <= 12


def test_requests_run_in_order_of_priority() -> None:
    urgent, normal, batch = request(3, 2, 1, priority=0), request(2, 2, 1), request(1, 2, 1, priority=BATCH)
    assert finishing_order(Machine(slots=1), batch, normal, urgent) == [3, 2, 1]


def test_waiting_request_moved_to_another_user_takes_that_users_place() -> None:
    machine = Machine(slots=1)
    batch, normal, other = (
        request(1, 2, 1, user="a", priority=BATCH),
        request(2, 2, 1, user="b"),
        request(3, 2, 1, user="b"),
    )
    for sequence in (batch, normal, other):
        machine.scheduler.submit(sequence)
    machine.scheduler.move(1, "c", 0)
    assert finishing_order(machine) == [1, 2, 3]
    assert (batch.user, batch.priority) == ("c", 0)
    machine.scheduler.move(1, "d", 1)
    assert machine.scheduler.idle, "moving an ended request does nothing"


def test_running_request_moved_to_batch_priority_is_preempted() -> None:
    machine = Machine(slots=1, streams=2)
    moved = request(1, 50, 30)
    machine.scheduler.submit(moved)
    machine.step()
    machine.scheduler.move(1, "b", BATCH)
    machine.scheduler.submit(request(2, 5, 3))
    machine.step()
    assert list(machine.scheduler.running) == [2]
    machine.run()
    assert moved.completion_tokens == 30


def test_preempted_batch_work_resumes_where_it_stopped() -> None:
    machine = Machine(slots=1, streams=2)
    batch = request(1, 50, 30, priority=BATCH)
    machine.scheduler.submit(batch)
    for _ in range(10):
        machine.step()
    normal = request(2, 5, 3)
    machine.scheduler.submit(normal)
    machine.step()
    assert list(machine.scheduler.running) == [2]
    machine.run()
    assert batch.completion_tokens == 30
    assert machine.computed == 50 + 29 + 5 + 2, "nothing was computed twice"


def test_request_that_must_run_alone_is_not_batched() -> None:
    machine = Machine(slots=4)
    alone = request(2, 250, 3, alone=True)
    for sequence in (request(1, 250, 30), alone, request(3, 250, 30)):
        machine.scheduler.submit(sequence)
    seen = []
    while not machine.scheduler.idle:
        seen.append(counts(machine.step()))
    assert [step for step in seen if 2 in step] == [{2: 100}, {2: 100}, {2: 50}, {2: 1}, {2: 1}]
    assert not alone.batched
    assert alone.cached == 0


# ---- random schedules ------------------------------------------------------------------------------------------------


class Machinery(RuleBasedStateMachine):
    """Any order of submit, cancel and step; at the end everything has ended exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(slots=3, batch=80, streams=5)
        self.scheduler = self.machine.scheduler
        self.submitted = 0
        self.ended: list[int] = []

    @rule(
        family=st.integers(0, 2), shared=st.integers(0, 300), own=st.integers(1, 100), max_tokens=st.integers(1, 6),
        user=st.sampled_from("ab"), priority=st.integers(0, 2), alone=st.booleans(),
    )  # fmt: skip
    def submit(
        self, family: int, shared: int, own: int, max_tokens: int, user: str, priority: int, alone: bool
    ) -> None:
        self.submitted += 1
        prompt = [*range(family * 1000, family * 1000 + shared), *([self.submitted * 10_000] * own)]
        self.scheduler.submit(
            request(
                self.submitted, prompt, max_tokens, user=user, priority=priority,
                alone=alone and self.submitted % 4 == 0,
            )
        )  # fmt: skip

    @rule(pick=st.integers(1, 40))
    def cancel(self, pick: int) -> None:
        here = pick in self.scheduler.waiting or pick in self.scheduler.running
        cancelled = self.scheduler.cancel(pick)
        assert (cancelled is not None) == here
        if cancelled is not None:
            self.ended.append(cancelled.id)

    @precondition(lambda self: not self.scheduler.idle)
    @rule(count=st.integers(1, 5))
    def step(self, count: int) -> None:
        for _ in range(count):
            before = {*self.scheduler.running, *self.scheduler.waiting}
            chunks = self.machine.step()
            self.ended += before - {*self.scheduler.running, *self.scheduler.waiting}
            if before:
                assert chunks, "requests wait, but the step is empty"
            assert sum(counts(chunks).values()) <= self.scheduler.batch
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
            self.step(1)
        assert sorted(self.ended) == list(range(1, self.submitted + 1))


TestMachinery = Machinery.TestCase
TestMachinery.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
