"""Whether drafts pay: never much slower at any row cost, faster for repeating text, and retried after a while."""

import hypothesis.strategies as st
import pytest
from hypothesis import given
from llmctld.engine.cost.step_cost import StepCost, passes
from llmctld.engine.drafts.lookup import Prediction
from llmctld.engine.drafts.speculation import DRAFT_TOKENS, PLAIN_EVERY, WHOLE_EVERY, Acceptance, Speculation

from tests.bench import bench_draft


def texts(name: str) -> tuple[list[int], list[int]]:
    return bench_draft.in_words(
        *((bench_draft.TEXTS / f"{name}.{part}.txt").read_text(encoding="utf-8") for part in ("prompt", "answer"))
    )


@pytest.mark.parametrize("cost", [0.0, 0.02, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("name", ["edit", "json", "prose"])
def test_drafts_cost_at_most_three_percent_of_speed_at_any_row_cost(name: str, cost: float) -> None:
    assert bench_draft.replay(*texts(name), cost).speed >= 0.97


@pytest.mark.parametrize(("name", "cost", "speed"), [("edit", 0.25, 1.8), ("edit", 0.02, 4), ("json", 0.25, 1.3)])
def test_repeating_text_is_generated_faster(name: str, cost: float, speed: float) -> None:
    assert bench_draft.replay(*texts(name), cost).speed >= speed


def test_text_without_repetition_is_soon_not_drafted() -> None:
    done = bench_draft.replay(*texts("prose"), 0.25)
    assert done.drafted < done.tokens / 50


def test_looping_text_is_drafted_almost_entirely() -> None:
    done = bench_draft.replay([1], list(range(2, 9)) * 60, 0.25)
    assert done.speed > 2
    assert done.accepted > 0.8 * done.tokens


def test_drafting_resumes_when_predictions_become_right() -> None:
    speculation, acceptance = measured(0.25), Acceptance()
    for _ in range(40):
        acceptance.learn(Prediction(4, False))
    assert speculation.lengths({0: acceptance.chances(4, 8)}, 8) == {0: 0}
    for _ in range(40):
        acceptance.learn(Prediction(4, True))
    assert speculation.lengths({0: acceptance.chances(4, 8)}, 8)[0] > 0


def measured(row_cost: float) -> Speculation:
    speculation = Speculation()
    for rows in (1, 5, 1, 9, 1):
        speculation.measured({0: rows}, 10 * (1 + row_cost * (rows - 1)))
    return speculation


@pytest.mark.parametrize("steps", [[(1, 2000.0)], [(1, 2000.0), (1, 900.0)], [(5, 3000.0)]])
def test_delayed_first_steps_do_not_affect_the_cost_estimate(steps: list[tuple[int, float]]) -> None:
    """Otherwise wide steps, measured later, would appear to cost nothing."""
    costs = []
    for first in (steps, []):
        speculation = Speculation()
        for rows, ms in [*first, (1, 10.0), (5, 30.0), (1, 10.0)]:
            speculation.measured({0: rows}, ms)
        costs.append([speculation.cost.estimate(1, rows) for rows in (1, 5)])
    assert costs[0] == pytest.approx(costs[1])


def test_drafts_stop_at_high_row_cost_and_are_retried_later() -> None:
    speculation = measured(1.0)
    chances = {0: [0.6, 0.4, 0.2]}
    assert speculation.lengths(chances, 8) == {0: 0}
    for _ in range(300):
        speculation.measured({0: 1}, 10)
    assert speculation.lengths(chances, 8)[0] > 0


def test_some_steps_run_without_drafts() -> None:
    speculation = measured(0.1)
    lengths = []
    for _ in range(2 * PLAIN_EVERY + 2):
        length = speculation.lengths({0: [0.99**at for at in range(1, 9)]}, 8)[0]
        speculation.measured({0: 1 + length}, 10 + length)
        lengths.append(length)
    assert lengths.count(0) == 2


def test_one_delayed_step_does_not_stop_drafting() -> None:
    speculation = measured(0.1)
    speculation.measured({0: 9}, 5000)
    assert speculation.lengths({0: [0.99**at for at in range(1, 9)]}, 8)[0] > 0


def test_full_length_draft_is_tried_even_if_short_drafts_pay() -> None:
    """Nine rows cost five, sixteen cost six: extrapolating from short drafts would never try it."""
    speculation = Speculation()
    lengths = []
    for _ in range(3 * WHOLE_EVERY):
        length = speculation.lengths({0: [0.985**at for at in range(1, DRAFT_TOKENS + 1)]}, DRAFT_TOKENS)[0]
        speculation.measured({0: 1 + length}, 6 if length == DRAFT_TOKENS else 1 + length / 2)
        lengths.append(length)
    assert lengths[-WHOLE_EVERY // 2 :].count(DRAFT_TOKENS) > WHOLE_EVERY // 4


@given(st.lists(st.lists(st.floats(0, 1), max_size=DRAFT_TOKENS), min_size=1, max_size=8), st.integers(0, 40))
def test_draft_lengths_stay_within_the_batch_limit(chances: list[list[float]], room: int) -> None:
    falling = {stream: sorted(each, reverse=True) for stream, each in enumerate(chances)}
    lengths = measured(0.01).lengths(falling, room)
    assert sum(lengths.values()) <= room
    assert all(length <= len(falling[stream]) for stream, length in lengths.items())


def test_single_drafting_sequence_in_a_batch_must_pay_for_its_extra_pass() -> None:
    speculation = Speculation()
    for _ in range(3):
        speculation.measured({0: 1}, 10)
        speculation.measured(dict.fromkeys(range(4), 1), 13)
        speculation.measured({0: 9}, 18)
    good = [0.7**at for at in range(1, 9)]
    assert speculation.lengths({0: good}, 32)[0] > 0
    assert speculation.lengths({0: [], 1: good, 2: [], 3: []}, 32)[1] == 0
    assert all(speculation.lengths(dict.fromkeys(range(4), good), 32).values())


@given(st.floats(0.1, 50), st.floats(0.1, 20), st.lists(st.tuples(st.integers(1, 4), st.integers(1, 40)), min_size=20))
def test_step_cost_is_learned(pass_ms: float, row_ms: float, steps: list[tuple[int, int]]) -> None:
    cost = StepCost()
    for count, rows in [*steps, (1, 1), (1, 9), (2, 10)]:
        cost.learn(count, rows, pass_ms * count + row_ms * rows)
    true = pass_ms + row_ms * 5
    assert cost.estimate(1, 5) == pytest.approx(true, rel=0.5)


@given(st.dictionaries(st.integers(0, 9), st.integers(1, 6), min_size=1))
def test_passes_are_counted_as_llama_cpp_splits_a_batch(rows: dict[int, int]) -> None:
    """The reference takes one row from each stream of a run of consecutive ids, until one of them is empty."""
    left = {stream: rows[stream] for stream in sorted(rows)}
    count = 0
    while any(left.values()):
        run: list[int] = []
        for stream in left:
            if left[stream] and (not run or stream == run[-1] + 1):
                run.append(stream)
        while all(left[stream] for stream in run):
            for stream in run:
                left[stream] -= 1
        count += 1
    assert passes(rows) == count


def test_step_without_sampling_has_no_drafts_even_with_odd_measurements() -> None:
    """On a busy machine more rows may take less time than one: then a pass is estimated to cost nothing."""
    speculation = Speculation()
    for _ in range(20):
        speculation.cost.learn(1, 1, 1.0)
        speculation.cost.learn(1, 8, 16.0)
    assert speculation.cost.estimate(1, 0) == 0.0
    assert speculation.lengths({}, 8) == {}
    assert speculation.lengths({0: []}, 8) == {0: 0}
