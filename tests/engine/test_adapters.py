"""LoRA adapters: each request uses its own in a mixed batch, and never reuses a prefix computed with another."""

from pathlib import Path

import pytest
from llmctld.engine.cost.pace import Pace
from llmctld.engine.llama.model import Gguf
from llmctld.engine.messages import Adapter

from tests import odd_gguf
from tests.engine.driver import Driver, llama

PROMPT = "the same words for everybody " * 5


class Dear(Pace):
    token_ms = 100.0


@pytest.fixture(scope="module")
def model(files: Path) -> Gguf:
    return Gguf(llama(files / "base.gguf", slots=4, retained=2, kv_type="f32", flash_attention=False))


@pytest.fixture(scope="module")
def sets(files: Path) -> list[tuple[Adapter, ...]]:
    for seed in (1, 2):
        odd_gguf.lora(files / f"lora{seed}.gguf", seed)
    one, two = (str(files / f"lora{seed}.gguf") for seed in (1, 2))
    return [
        (),
        (Adapter(one, 1.0),),
        (Adapter(one, 0.5),),
        (Adapter(two, 1.0),),
        (Adapter(one, 1.0), Adapter(two, 1.0)),
    ]


def test_adapters_give_the_same_answers_in_a_batch_as_alone(model: Gguf, sets: list[tuple[Adapter, ...]]) -> None:
    alone = [Driver(model).ask(PROMPT, repro=True, adapters=adapters).text for adapters in sets]
    assert len(set(alone)) == len(sets), "each adapter changes the answer"
    driver = Driver(model, pace=Dear())
    ids = [driver.submit(PROMPT, adapters=adapters) for adapters in (*sets, *sets)]
    driver.run()
    assert [driver.replies[id].text for id in ids] == [*alone, *alone]


def test_prefix_cache_is_not_shared_between_adapters(model: Gguf, sets: list[tuple[Adapter, ...]]) -> None:
    driver = Driver(model, pace=Dear())
    cached = [driver.ask(PROMPT, adapters=adapters).done.cached_tokens for adapters in (sets[0], sets[1], sets[1])]
    assert cached[:2] == [0, 0]
    assert cached[2] > 100


def test_file_that_is_not_an_adapter_is_refused(model: Gguf, files: Path) -> None:
    refusal = Driver(model).ask("x", adapters=(Adapter(str(files / "base.gguf"), 1.0),)).refusal
    assert refusal.code == "model_unavailable"
    assert "base.gguf" in refusal.message
    assert Driver(model).ask("x").ends == 1


def test_rewritten_adapter_file_is_loaded_again(model: Gguf, files: Path) -> None:
    path = files / "changing.gguf"
    said = []
    for seed in (5, 6):
        odd_gguf.lora(path, seed)
        adapter = Adapter(str(path), 1.0, identity=f"of {seed}")
        said.append([Driver(model).ask(PROMPT, adapters=(adapter,)).text for _ in range(2)])
    assert said[0][0] == said[0][1] != said[1][0] == said[1][1]
