"""The number of threads per step on simulated machines: the time of a step is a function of that number."""

from collections.abc import Callable

import pytest
from llmctld.engine.cost.threads import LAST_WAIT, Threads, ladder

Machine = Callable[[int], tuple[float, float]]
"""Threads -> milliseconds of a step with one row, and the share of that time for which they had processors."""


def quiet(threads: int) -> tuple[float, float]:
    return 60 / threads, 0.97


def beside_one(threads: int) -> tuple[float, float]:
    """Two processors and one busy program: two threads wait for each other, a single one has a processor to itself."""
    return (28.0, 0.5) if threads == 2 else (11.0, 1.0)


def together_anyway(threads: int) -> tuple[float, float]:
    """Likewise, but one thread alone is slower still."""
    return (52.0, 0.5) if threads == 2 else (59.0, 1.0)


def run(threads: Threads, machine: Machine, steps: int, rows: int = 1) -> list[int]:
    """The number of threads of each step."""
    counts = []
    for _ in range(steps):
        counts.append(threads.count)
        ms, share = machine(threads.count)
        threads.measured(1, rows, ms * (0.8 + 0.2 * rows), share)
    return counts


def test_idle_machine_uses_all_threads_in_every_step() -> None:
    assert set(run(Threads(2), quiet, 1000)) == {2}
    assert set(run(Threads(16), quiet, 1000)) == {16}


def test_busy_machine_uses_fewer_threads_and_retries_all_occasionally() -> None:
    threads = Threads(2)
    run(threads, quiet, 50)
    counts = run(threads, beside_one, 400)
    assert counts.count(2) < 30
    assert 2 in counts[-4 * LAST_WAIT :]


def test_all_threads_are_used_again_when_the_machine_is_idle() -> None:
    threads = Threads(2)
    run(threads, beside_one, 400)
    assert threads.count == 1
    counts = run(threads, quiet, 300)
    assert set(counts[-100:]) == {2}


def test_all_threads_are_kept_if_fewer_are_slower() -> None:
    counts = run(Threads(2), together_anyway, 1000)
    assert counts.count(1) < 30


def test_start_on_a_busy_machine_also_reduces_threads() -> None:
    assert run(Threads(2), beside_one, 60)[-40:].count(1) > 35


def test_busy_processors_are_left_to_other_programs() -> None:
    def two_are_taken(threads: int) -> tuple[float, float]:
        return (60 / threads, 1.0) if threads <= 6 else (60 / threads * 4, 0.4)

    assert set(run(Threads(8), two_are_taken, 400)[-100:]) <= {6, 7, 4}
    assert run(Threads(8), two_are_taken, 400)[-100:].count(6) > 70


def test_steps_with_different_rows_are_compared_by_expected_time() -> None:
    """With drafts and changing requests each step has a different number of rows."""
    threads, counts = Threads(2), []
    for step in range(400):
        counts += run(threads, beside_one, 1, rows=1 + step % 7)
    assert counts[-200:].count(1) > 180


def test_one_slow_step_does_not_change_the_thread_count() -> None:
    threads = Threads(2)
    for _ in range(40):
        run(threads, quiet, 25)
        threads.measured(1, 1, 2000.0, 0.02)
    counts = run(threads, quiet, 100)
    assert counts.count(2) >= 95


def test_thread_count_set_by_the_user_is_kept() -> None:
    assert set(run(Threads(2, fewer=False), beside_one, 200)) == {2}


@pytest.mark.parametrize(
    ("most", "rungs"),
    [(1, [1]), (2, [2, 1]), (4, [4, 3, 2, 1]), (8, [8, 7, 6, 4, 2, 1]), (64, [64, 63, 62, 48, 32, 16, 1])],
)
def test_thread_counts_that_are_tried(most: int, rungs: list[int]) -> None:
    assert ladder(most) == rungs
