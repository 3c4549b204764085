"""Models whose memory cannot be cut or copied like a plain transformer's: their answers are right with any reuse."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from llmctld.engine.cost.pace import Pace
from llmctld.engine.llama.model import Gguf
from llmctld.engine.streams.saved import SavedStates

from tests import odd_gguf
from tests.engine.driver import Driver, llama


class Dear(Pace):
    token_ms = 100.0


def load(tmp_path: Path, write: Callable[[Path], None]) -> Gguf:
    path = tmp_path / "odd.gguf"
    write(path)
    return Gguf(llama(path, slots=2, retained=2, kv_type="f32", context=512, flash_attention=False))


def story(dice: random.Random, length: int) -> str:
    return "".join(dice.choices("etaoin shrdlu", k=length))


@pytest.mark.parametrize("write", [odd_gguf.recurrent, odd_gguf.sliding])
def test_overlapping_prompts_get_the_same_answers_as_alone(tmp_path: Path, write: Callable[[Path], None]) -> None:
    model, dice = load(tmp_path, write), random.Random(3)
    base = story(dice, 200)
    prompts = [base[:length] + story(dice, 5) for length in (200, 60, 199, 20, 150, 0)]
    alone = [Driver(model).ask(prompt, repro=True).text for prompt in prompts]
    saved = SavedStates(None, 2**24, 0)
    driver = Driver(model, saved=saved, pace=Dear())
    one_by_one = [driver.ask(prompt).text for prompt in prompts]
    driver = Driver(model, saved=saved, pace=Dear())
    ids = [driver.submit(prompt) for prompt in prompts]
    driver.run()
    assert one_by_one == [driver.replies[id].text for id in ids] == alone


def test_recurrent_model_retains_no_streams_and_reuses_nothing(tmp_path: Path) -> None:
    model = load(tmp_path, odd_gguf.recurrent)
    assert (model.reuses, model.loaded.retained, model.streams) == (False, 0, 2)
    driver = Driver(model)
    assert [driver.ask("the same again").done.cached_tokens for _ in range(2)] == [0, 0]


def test_sliding_window_model_reuses_a_whole_prefix_or_none(tmp_path: Path) -> None:
    driver = Driver(load(tmp_path, odd_gguf.sliding), pace=Dear())
    prompt = story(random.Random(4), 200)
    driver.ask(prompt)
    assert driver.ask(prompt).done.cached_tokens in (0, 200, 201)


def test_nan_logits_fail_only_the_request_that_causes_them(tmp_path: Path) -> None:
    """NaN in one token's embedding: requests with that token fail, others are answered."""

    driver = Driver(load(tmp_path, odd_gguf.poisoned))
    bad, good = driver.submit("zzz"), driver.submit("eee", max_tokens=3, logit_bias={"e": 100.0})
    driver.run()
    assert driver.replies[bad].refusal.code == "engine_failed"
    assert "NaN" in driver.replies[bad].refusal.message
    assert driver.replies[good].text == "eee"
    assert driver.ask("eee", max_tokens=3, logit_bias={"e": 100.0}).text == "eee"
