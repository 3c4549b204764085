"""Whatever is reused, copied, moved, saved or put off, the text is the one that the request gets alone, token for token."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from llmctld.engine.gguf import Gguf
from llmctld.engine.pace import Pace
from llmctld.engine.saved import SUFFIX, Saved

from tests.engine.driver import Driver, llama

Alone = Callable[..., str]


class Dear(Pace):
    """This model computes a prompt sooner than anything could be kept; as if it were a thousand times larger."""

    token_ms = 100.0


@pytest.fixture(scope="module")
def model(files: Path) -> Gguf:
    """Float32 throughout, so that rounding decides nothing: three slots, and two streams that retain."""
    return Gguf(llama(files / "base.gguf", slots=3, retained=2, kv_type="f32", context=512, flash_attention=False))


@pytest.fixture(scope="module")
def alone(model: Gguf) -> Alone:
    """The slow twin: one request on an engine that does nothing else and knows nothing."""
    known: dict[str, str] = {}

    def ask(prompt: str, **options: float) -> str:
        key = f"{prompt} {options}"
        if key not in known:
            known[key] = Driver(model).ask(prompt, repro=True, **options).text
        return known[key]

    return ask


def story(dice: random.Random, length: int) -> str:
    return "".join(dice.choices("etaoin shrdlu", k=length))


def test_the_same_prompt_again_is_computed_but_for_its_last_token(model: Gguf, alone: Alone) -> None:
    driver, prompt = Driver(model, pace=Dear()), story(random.Random(1), 200)
    first, second = driver.ask(prompt), driver.ask(prompt)
    assert (first.done.cached_tokens, second.done.cached_tokens) == (0, second.done.prompt_tokens - 1)
    assert first.text == second.text == alone(prompt)


def test_a_conversation_goes_on_where_it_ended(model: Gguf, alone: Alone) -> None:
    driver, prompt = Driver(model, pace=Dear()), story(random.Random(2), 100)
    answer = driver.ask(prompt, max_tokens=30)
    longer = prompt + answer.text + story(random.Random(3), 10)
    reply = driver.ask(longer)
    assert reply.done.cached_tokens >= answer.done.prompt_tokens + 29
    assert reply.text == alone(longer)


def test_eight_that_share_a_prompt_compute_it_once(model: Gguf, alone: Alone) -> None:
    driver, shared = Driver(model, pace=Dear()), story(random.Random(4), 300)
    prompts = [f"{shared}{number}" for number in range(8)]
    ids = [driver.submit(prompt) for prompt in prompts]
    driver.run()
    done = [driver.replies[id].done for id in ids]
    computed = sum(reply.prompt_tokens - reply.cached_tokens for reply in done)
    assert computed < done[0].prompt_tokens + 8 * 3
    assert [driver.replies[id].text for id in ids] == [alone(prompt) for prompt in prompts]


def test_a_state_survives_the_process_and_is_proven(model: Gguf, alone: Alone, tmp_path: Path) -> None:
    prompt = story(random.Random(5), 400)
    driver = Driver(model, saved=Saved(tmp_path, 2**22, 2**30), pace=Dear())
    driver.ask(prompt)
    driver.loop.farewell()
    later = Driver(model, saved=Saved(tmp_path, 2**22, 2**30), pace=Dear()).ask(prompt)
    assert later.done.cached_tokens == later.done.prompt_tokens - 1
    assert later.text == alone(prompt)
    assert later.remarks == []


@pytest.mark.parametrize("place", [0.0, 0.001, 0.5, 0.999])
def test_a_flipped_byte_is_found(model: Gguf, alone: Alone, tmp_path: Path, place: float) -> None:
    prompt = story(random.Random(6), 400)
    driver = Driver(model, saved=Saved(tmp_path, 2**22, 2**30), pace=Dear())
    driver.ask(prompt)
    driver.loop.farewell()
    (file,) = tmp_path.glob(f"*{SUFFIX}")
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)
    saved = Saved(tmp_path, 2**22, 2**30)
    later = Driver(model, saved=saved, pace=Dear()).ask(prompt)
    assert (later.done.cached_tokens, later.text) == (0, alone(prompt))
    assert len(later.remarks) + len(saved.damaged) == 1
    assert not file.exists()


def test_a_state_of_another_length_is_not_believed(model: Gguf, alone: Alone) -> None:
    """Whole, and still not what it says: fewer tokens come back than it should have."""
    prompt = story(random.Random(7), 300)
    driver = Driver(model, pace=Dear())
    driver.ask(prompt[:200])
    state = model.save(next(stream for stream in range(5) if len(driver.loop.scheduler.streams.held(stream))))
    saved = Saved(None, 2**30, 0)
    saved.put(np.array(model._vocabulary.encode(prompt), np.int32), state)
    later = Driver(model, saved=saved, pace=Dear()).ask(prompt)
    assert (later.done.cached_tokens, later.text) == (0, alone(prompt))
    assert "tokens came back" in later.remarks[0]
    assert len(saved) == 0


def test_repro_uses_nothing_and_says_nothing_else_was_there(model: Gguf, alone: Alone) -> None:
    driver, prompt = Driver(model, pace=Dear()), story(random.Random(8), 200)
    driver.ask(prompt)
    with_others = [driver.submit(prompt, repro=True, max_tokens=20), driver.submit(story(random.Random(9), 50))]
    driver.run()
    done = driver.replies[with_others[0]].done
    assert (done.cached_tokens, done.batched) == (0, False)
    assert driver.ask(prompt).done.batched, "it used what was computed before"


def test_batch_work_that_was_put_off_says_the_same(model: Gguf, alone: Alone) -> None:
    driver, prompt = Driver(model, pace=Dear()), story(random.Random(10), 150)
    options = {"max_tokens": 60, "temperature": 0.9, "seed": 5}
    batch = [driver.submit(f"{prompt}{number}", priority=2, **options) for number in range(3)]
    driver.step(20)
    urgent = [driver.submit(story(random.Random(number), 30), max_tokens=20) for number in range(3)]
    driver.step(2)
    assert set(driver.loop.scheduler.running) & set(urgent)
    driver.run()
    assert [driver.replies[id].text for id in batch] == [alone(f"{prompt}{number}", **options) for number in range(3)]
