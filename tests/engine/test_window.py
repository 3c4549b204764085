"""Sliding-window layers keep little more than the window: prefixes are still reused, and no answer changes."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from llmctld.engine.core.scheduler import WAIT_TOKENS
from llmctld.engine.cost.pace import Pace
from llmctld.engine.llama.model import Gguf
from llmctld.engine.streams.checkpoints import NO_WINDOW, TAIL, Window
from llmctld.engine.streams.saved import SavedStates

from tests import odd_gguf
from tests.engine.driver import Driver, llama

Alone = Callable[[str], str]
WINDOW, SPARE = 64, 192
LONG = SPARE + 20
"""An answer behind which a stream cannot be cut back to the prompt."""


class Dear(Pace):
    token_ms = 100.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Gguf:
    """Float32 throughout, so that rounding decides nothing. Steps of 64 tokens: a stream has 256 cells for its windows."""
    path = tmp_path_factory.mktemp("models") / "sliding.gguf"
    odd_gguf.sliding(path, context=2048, window=WINDOW)
    return Gguf(llama(path, slots=3, retained=2, kv_type="f32", batch=64, flash_attention=False, speculation="off"))


@pytest.fixture(scope="module")
def alone(model: Gguf) -> Alone:
    """The slow reference."""
    return lambda prompt: Driver(model, batch=64).ask(prompt, repro=True).text


def engine(model: Gguf, saved: SavedStates | None = None) -> Driver:
    """Steps as wide as the model has cells for."""
    saved = SavedStates(None, 2**26, 0, model.window) if saved is None else saved
    return Driver(model, batch=64, saved=saved, pace=Dear())


def again(model: Gguf, driver: Driver, folder: Path) -> Driver:
    """Restarts the engine with its saved states."""
    driver.loop.save_states()
    for stream in range(model.streams):
        model.cut(stream, 0)
    return engine(model, SavedStates(folder, 2**26, 2**30, model.window))


def story(dice: random.Random, length: int) -> str:
    return "".join(dice.choices("etaoin shrdlu", k=length))


def test_sliding_window_size_matches_the_library(model: Gguf) -> None:
    assert model.window == Window(WINDOW, SPARE)
    for stream in range(model.streams):
        model.cut(stream, 0)
    driver = engine(model)
    driver.ask(story(random.Random(1), 600))
    (stream,) = [stream for stream in range(model.streams) if model.least(stream)]
    held = len(driver.loop.scheduler.streams.held(stream))
    assert held - model.least(stream) >= SPARE - 64, "one step may overwrite up to 64"
    assert model.cut(stream, model.least(stream))
    assert not model.cut(stream, model.least(stream) - 1)


def test_repeated_prompt_computes_only_its_last_token(model: Gguf, alone: Alone) -> None:
    driver, prompt = engine(model), story(random.Random(2), 500)
    first, second = driver.ask(prompt), driver.ask(prompt)
    assert (first.done.cached_tokens, second.done.cached_tokens) == (0, second.done.prompt_tokens - 1)
    assert first.text == second.text == alone(prompt)


def test_prompt_is_reused_after_a_long_answer(model: Gguf, alone: Alone) -> None:
    driver, prompt = engine(model), story(random.Random(3), 500)
    driver.ask(prompt, max_tokens=LONG, ignore_eos=True)
    second = driver.ask(prompt)
    assert second.done.cached_tokens == second.done.prompt_tokens - TAIL
    assert second.text == alone(prompt)


def test_short_answer_saves_no_state(model: Gguf) -> None:
    driver = engine(model)
    driver.ask(story(random.Random(4), 500), max_tokens=SPARE // 2)
    assert len(driver.loop.scheduler.saved) == 0


def test_conversation_is_reused_after_an_engine_restart(model: Gguf, alone: Alone, tmp_path: Path) -> None:
    driver, prompt = engine(model, SavedStates(tmp_path, 2**26, 2**30, model.window)), story(random.Random(5), 400)
    first = driver.ask(prompt, max_tokens=30)
    turn = prompt + first.text + story(random.Random(6), 20)
    second = driver.ask(turn, max_tokens=30)
    driver = again(model, driver, tmp_path)
    same = driver.ask(turn)
    assert same.done.cached_tokens == same.done.prompt_tokens - TAIL
    next_ = turn + second.text + story(random.Random(7), 20)
    third = driver.ask(next_)
    assert third.done.cached_tokens >= same.done.prompt_tokens + 29
    assert (same.text, third.text) == (alone(turn), alone(next_))


def test_conversation_is_reused_in_another_slot(model: Gguf, alone: Alone) -> None:
    driver, prompt = engine(model), story(random.Random(8), 400)
    first = driver.ask(prompt, max_tokens=30)
    others = [driver.submit(story(random.Random(seed), 100), max_tokens=60, ignore_eos=True) for seed in (9, 10)]
    driver.step(8)
    turn = prompt + first.text + "etaoin"
    second = driver.ask(turn)
    assert second.done.cached_tokens >= first.done.prompt_tokens
    assert second.text == alone(turn)
    assert all(driver.replies[id].done.completion_tokens == 60 for id in others)


def test_two_prompts_with_a_shared_prefix_are_reused_after_a_restart(model: Gguf, alone: Alone, tmp_path: Path) -> None:
    driver, shared = engine(model, SavedStates(tmp_path, 2**26, 2**30, model.window)), story(random.Random(11), 400)
    prompts = [shared + story(random.Random(seed), 10) for seed in (12, 13)]
    for prompt in prompts:
        driver.ask(prompt)
    driver = again(model, driver, tmp_path)
    for prompt in prompts:
        reply = driver.ask(prompt)
        assert reply.done.cached_tokens >= 400
        assert reply.text == alone(prompt)


def test_eight_requests_compute_a_shared_prefix_once(model: Gguf, alone: Alone) -> None:
    driver, shared = engine(model), story(random.Random(14), 600)
    prompts = [shared + story(random.Random(seed), 250) for seed in range(20, 28)]
    ids = [driver.submit(prompt) for prompt in prompts]
    driver.run()
    done = [driver.replies[id].done for id in ids]
    assert sum(reply.cached_tokens < 600 - WAIT_TOKENS for reply in done) == 1
    assert [driver.replies[id].text for id in ids] == [alone(prompt) for prompt in prompts]


def test_lost_shared_prefix_is_computed_again_once_and_then_kept(model: Gguf, alone: Alone) -> None:
    driver, shared = engine(model), story(random.Random(15), 600)
    prompts = [shared + story(random.Random(seed), 250) for seed in range(30, 34)]
    replies = [driver.ask(prompt) for prompt in prompts]
    assert [reply.done.cached_tokens for reply in replies[:2]] == [0, 0]
    assert all(reply.done.cached_tokens >= 600 for reply in replies[2:])
    assert [reply.text for reply in replies] == [alone(prompt) for prompt in prompts]


def test_answers_are_unchanged_by_cuts_copies_and_restores(model: Gguf, alone: Alone, tmp_path: Path) -> None:
    dice = random.Random(16)
    driver = engine(model, SavedStates(tmp_path, 2**26, 2**30, model.window))
    texts = [story(dice, 300)]
    for _ in range(4):
        asked = []
        for _ in range(5):
            base = dice.choice(texts)
            prompt = base[: dice.randrange(len(base))] + story(dice, dice.choice([3, 60, 200]))
            texts.append(prompt)
            asked.append((driver.submit(prompt, max_tokens=dice.choice([5, 80])), prompt))
            driver.step(dice.randrange(4))  # never until all have ended: step() would wait for the next request
        driver.run()
        for id, prompt in asked:
            text, slow = driver.replies[id].text, alone(prompt)
            assert text[: len(slow)] == slow[: len(text)]
            assert driver.replies[id].remarks == []
        driver = again(model, driver, tmp_path)


def test_window_state_covers_its_own_length_and_one_token_less() -> None:
    window = Window(4, 8)
    tokens = np.arange(10, dtype=np.int32)
    saved = SavedStates(None, 2**20, 0, window)
    for length in (3, 6, 10):
        saved.put(tokens[:length], b"state")
    assert len(saved) == 3, "no state can be cut to a shorter one"
    assert [saved.covers(tokens[:length]) for length in (2, 3, 4, 5, 6, 7, 9, 10)] == [
        True, True, False, True, True, False, True, True,
    ]  # fmt: skip
    plain = SavedStates(None, 2**20, 0, NO_WINDOW)
    for length in (3, 6, 10):
        plain.put(tokens[:length], b"state")
    assert len(plain) == 1
