"""With any reuse, copy, move, save or preemption, the text is the one of the request alone, token for token."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from llmctld.engine.cost.pace import Pace
from llmctld.engine.llama.model import Gguf
from llmctld.engine.streams.saved import SUFFIX, SavedStates
from llmctld.engine.streams.sequence import Chunk, Sequence
from numpy.typing import NDArray

from tests.engine.driver import Driver, llama

Alone = Callable[..., str]


class Dear(Pace):
    """As if this model were a thousand times larger: computing a prompt again would otherwise beat reuse."""

    token_ms = 100.0


@pytest.fixture(scope="module")
def model(files: Path) -> Gguf:
    """Float32 throughout, so that rounding decides nothing: three slots, and two streams that retain."""
    return Gguf(llama(files / "base.gguf", slots=3, retained=2, kv_type="f32", context=512, flash_attention=False))


@pytest.fixture(scope="module")
def alone(model: Gguf) -> Alone:
    """The slow reference: a single request on a fresh engine."""
    known: dict[str, str] = {}

    def ask(prompt: str, **options: float) -> str:
        key = f"{prompt} {options}"
        if key not in known:
            known[key] = Driver(model).ask(prompt, repro=True, **options).text
        return known[key]

    return ask


def story(dice: random.Random, length: int) -> str:
    return "".join(dice.choices("etaoin shrdlu", k=length))


def test_repeated_prompt_computes_only_its_last_token(model: Gguf, alone: Alone) -> None:
    driver, prompt = Driver(model, pace=Dear()), story(random.Random(1), 200)
    first, second = driver.ask(prompt), driver.ask(prompt)
    assert (first.done.cached_tokens, second.done.cached_tokens) == (0, second.done.prompt_tokens - 1)
    assert first.text == second.text == alone(prompt)


def test_next_turn_reuses_the_previous_turn_and_answer(model: Gguf, alone: Alone) -> None:
    driver, prompt = Driver(model, pace=Dear()), story(random.Random(2), 100)
    answer = driver.ask(prompt, max_tokens=30)
    longer = prompt + answer.text + story(random.Random(3), 10)
    reply = driver.ask(longer)
    assert reply.done.cached_tokens >= answer.done.prompt_tokens + 29
    assert reply.text == alone(longer)


def test_eight_requests_compute_a_shared_prefix_once(model: Gguf, alone: Alone) -> None:
    driver, shared = Driver(model, pace=Dear()), story(random.Random(4), 300)
    prompts = [f"{shared}{number}" for number in range(8)]
    ids = [driver.submit(prompt) for prompt in prompts]
    driver.run()
    done = [driver.replies[id].done for id in ids]
    computed = sum(reply.prompt_tokens - reply.cached_tokens for reply in done)
    assert computed < done[0].prompt_tokens + 8 * 3
    assert [driver.replies[id].text for id in ids] == [alone(prompt) for prompt in prompts]


def test_saved_state_is_reused_after_a_restart(model: Gguf, alone: Alone, tmp_path: Path) -> None:
    prompt = story(random.Random(5), 400)
    driver = Driver(model, saved=SavedStates(tmp_path, 2**22, 2**30), pace=Dear())
    driver.ask(prompt)
    driver.loop.save_states()
    later = Driver(model, saved=SavedStates(tmp_path, 2**22, 2**30), pace=Dear()).ask(prompt)
    assert later.done.cached_tokens == later.done.prompt_tokens - 1
    assert later.text == alone(prompt)
    assert later.remarks == []


@pytest.mark.parametrize("place", [0.0, 0.001, 0.5, 0.999])
def test_saved_state_with_a_flipped_byte_is_not_used(model: Gguf, alone: Alone, tmp_path: Path, place: float) -> None:
    prompt = story(random.Random(6), 400)
    driver = Driver(model, saved=SavedStates(tmp_path, 2**22, 2**30), pace=Dear())
    driver.ask(prompt)
    driver.loop.save_states()
    (file,) = tmp_path.glob(f"*{SUFFIX}")
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)
    saved = SavedStates(tmp_path, 2**22, 2**30)
    later = Driver(model, saved=saved, pace=Dear()).ask(prompt)
    assert (later.done.cached_tokens, later.text) == (0, alone(prompt))
    assert len(later.remarks) + len(saved.damaged) == 1
    assert not file.exists()


def test_saved_state_with_the_wrong_length_is_not_used(model: Gguf, alone: Alone) -> None:
    """The state is undamaged, but has fewer tokens than its key says."""
    prompt = story(random.Random(7), 300)
    driver = Driver(model, pace=Dear())
    driver.ask(prompt[:200])
    state = model.save(next(stream for stream in range(5) if len(driver.loop.scheduler.streams.held(stream))))
    saved = SavedStates(None, 2**30, 0)
    saved.put(np.array(model._vocabulary.encode(prompt), np.int32), state)
    later = Driver(model, saved=saved, pace=Dear()).ask(prompt)
    assert (later.done.cached_tokens, later.text) == (0, alone(prompt))
    assert "tokens came back" in later.remarks[0]
    assert len(saved) == 0


def test_reproducible_request_reuses_nothing_and_reports_no_batching(model: Gguf, alone: Alone) -> None:
    driver, prompt = Driver(model, pace=Dear()), story(random.Random(8), 200)
    driver.ask(prompt)
    with_others = [driver.submit(prompt, repro=True, max_tokens=20), driver.submit(story(random.Random(9), 50))]
    driver.run()
    done = driver.replies[with_others[0]].done
    assert (done.cached_tokens, done.batched) == (0, False)
    assert driver.ask(prompt).done.batched, "it reused what was computed before"


def test_preempted_batch_work_gives_the_same_answer(model: Gguf, alone: Alone) -> None:
    driver, prompt = Driver(model, pace=Dear()), story(random.Random(10), 150)
    options = {"max_tokens": 60, "temperature": 0.9, "seed": 5}
    batch = [driver.submit(f"{prompt}{number}", priority=2, **options) for number in range(3)]
    driver.step(20)
    urgent = [driver.submit(story(random.Random(number), 30), max_tokens=20) for number in range(3)]
    driver.step(2)
    assert set(driver.loop.scheduler.running) & set(urgent)
    driver.run()
    assert [driver.replies[id].text for id in batch] == [alone(f"{prompt}{number}", **options) for number in range(3)]


# ---- copies, which the library makes lazily ----------------------------------------------------------------------------


def compute(model: Gguf, stream: int, tokens: list[int], start: int = 0) -> NDArray[np.float32]:
    """The logits after `tokens`, of which the stream holds the first `start`."""
    sequence = Sequence(1, tokens, len(tokens), 1)
    (logits,) = model.logits([Chunk(sequence, stream, start, len(tokens) - start)])
    assert logits is not None
    kept: NDArray[np.float32] = logits.copy()
    return kept


@pytest.fixture
def pair(model: Gguf) -> Iterator[tuple[list[int], list[int]]]:
    """Two texts as tokens; all streams are empty before and after."""
    dice = np.random.default_rng(4)
    for stream in range(model.streams):
        model.cut(stream, 0)
    yield tuple([1, *dice.integers(260, 300, 40).tolist()] for _ in range(2))  # type: ignore[misc]
    for stream in range(model.streams):
        model.cut(stream, 0)


def test_restoring_a_state_into_a_copied_stream_keeps_the_copy_intact(
    model: Gguf, pair: tuple[list[int], list[int]]
) -> None:
    one, other = pair
    expected = [compute(model, 0, [*other, 270])]
    model.cut(0, len(other))
    state = bytes(model.save(0))
    model.cut(0, 0)
    expected.append(compute(model, 0, [*one, 270]))
    model.cut(0, len(one))
    model.copy(0, 3)
    assert model.restore(0, state) == len(other)
    assert compute(model, 3, [*one, 270], len(one)) == pytest.approx(expected[1], abs=1e-3)
    assert compute(model, 0, [*other, 270], len(other)) == pytest.approx(expected[0], abs=1e-3)


def test_stream_copy_can_be_saved_and_overwritten_immediately(model: Gguf, pair: tuple[list[int], list[int]]) -> None:
    one, other = pair
    compute(model, 4, other)
    state_of_other = bytes(model.save(4))
    expected = compute(model, 0, [*one, 270])
    model.cut(0, len(one))
    model.copy(0, 2)
    model.copy(2, 4)
    state = bytes(model.save(4))
    assert model.restore(1, state) == len(one)
    assert compute(model, 1, [*one, 270], len(one)) == pytest.approx(expected, abs=1e-3)
    model.copy(0, 3)
    assert model.restore(3, state_of_other) == len(other)
    after_other = compute(model, 3, [*other, 270], len(other))
    model.cut(4, 0)
    assert compute(model, 4, [*other, 270]) == pytest.approx(after_other, abs=1e-3)
