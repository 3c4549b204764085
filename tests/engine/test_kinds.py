"""Every common architecture and quantisation gives the answer of llama.cpp's own plain loop in every mode of computation.

The models are random, small and quantised here. Prompts are chosen so that rounding decides nothing: the plain loop gives
the same logits for the prompt at once and token by token, within NOISE, and the best token leads by far.
"""

from pathlib import Path

import numpy as np
import pytest
from llmctld.engine.cost.pace import Pace
from llmctld.engine.embed.gguf import GgufEmbedder
from llmctld.engine.errors import LoadError
from llmctld.engine.llama.internals.rungs import LADDER
from llmctld.engine.llama.model import Gguf
from llmctld.engine.streams.saved import SavedStates

from tests import kinds_gguf
from tests.engine.driver import Driver, llama
from tests.kinds_gguf import STATEFUL
from tests.quantised import QUANTS, quantise, types_of
from tests.slow_twin import BEGIN, Twin, answer, extra_works, sure

COUNT, FEW = 16, 6
"""Tokens of an answer; few where no attention decides, so that the best are seldom far apart."""
CASES = [("llama" if kind != "MXFP4_MOE" else "llama+experts", kind) for kind in QUANTS]
CASES += [
    (name, kind)
    for name in kinds_gguf.ARCHITECTURES
    for kind in ("MXFP4_MOE" if name == "gpt-oss" else "Q4_0", "Q4_K_M")
    if name not in ("llama", "bert")
]


class Dear(Pace):
    """As if this model were a thousand times larger: computing a prompt again would otherwise beat reuse."""

    token_ms = 100.0


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> "Floats":
    return Floats(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def extra(floats: "Floats", tmp_path_factory: pytest.TempPathFactory) -> bool:
    """Whether the library's special kernels for quantised files work here; otherwise they are switched off."""
    path = tmp_path_factory.mktemp("extra") / "m.gguf"
    return extra_works(quantise(floats.of("llama"), path, "Q8_0"))


class Floats:
    """Each architecture's file in float32, written on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, architecture: str) -> Path:
        path = self._folder / f"{architecture}.gguf"
        return path if path.exists() else kinds_gguf.write(path, architecture)


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_answers_equal_llama_cpps_plain_loop_in_every_mode(
    floats: Floats, extra: bool, tmp_path: Path, architecture: str, kind: str
) -> None:
    path = quantise(floats.of(architecture), tmp_path / "m.gguf", kind)
    types = types_of(path)
    del types["F32"]  # norms and biases
    assert QUANTS[kind] in types
    assert max(types, key=lambda name: types[name]) in (QUANTS[kind], "Q8_0"), types
    twin, count = Twin(path, extra=extra), FEW if architecture in STATEFUL else COUNT
    asked = dict(pair for pair, _ in zip(sure(twin, count), range(4), strict=False))
    asked |= shortened(twin, next(iter(asked)), count)
    twin.close()
    rung = LADDER[0 if extra else 1].name
    model = Gguf(llama(path, slots=4, retained=2, context=512, rung=rung))
    assert model.reuses is (architecture not in STATEFUL)

    alone = Driver(model)
    answers = {"alone": [alone.ask(prompt, max_tokens=count, repro=True).text for prompt in asked]}
    driver = Driver(model)
    ids = [driver.submit(prompt, max_tokens=count) for prompt in asked]
    driver.run()
    assert all(driver.replies[id].done.batched for id in ids[:4])
    answers["in a batch of four"] = [driver.replies[id].text for id in ids]
    reusing = Driver(model, saved=SavedStates(tmp_path / "saved", 2**22, 2**30), pace=Dear())
    again = [reusing.ask(prompt, max_tokens=count) for prompt in [*asked, *asked]]
    answers["after others"], answers["again"] = (
        [reply.text for reply in part] for part in (again[: len(asked)], again[len(asked) :])
    )
    reusing.loop.save_states()
    later = Driver(model, saved=SavedStates(tmp_path / "saved", 2**22, 2**30), pace=Dear())
    restored = [later.ask(prompt, max_tokens=count) for prompt in asked]
    answers["after save and restore"] = [reply.text for reply in restored]

    assert answers == {key: list(asked.values()) for key in answers}
    if architecture in STATEFUL:
        assert not any(reply.done.cached_tokens for reply in (*again, *restored)), "a prefix was reused"
    elif architecture not in WINDOWED:
        assert again[1].done.cached_tokens >= BEGIN, "the previous prompt has the same prefix"
        assert min(reply.done.cached_tokens for reply in restored[:4]) >= BEGIN


def shortened(twin: Twin, prompt: str, count: int) -> dict[str, str]:
    """A shorter prompt with its answer; it ends so early that no window reaches back to it from the end of the whole one."""
    for length in range(12, BEGIN):
        if (said := answer(twin, prompt[:length], count)) is not None:
            return {prompt[:length]: said}
    return {}


def test_context_beyond_the_position_table_is_refused(floats: Floats) -> None:
    """A prompt beyond the table would make the library abort the process and with it all requests."""
    path = floats.of("gpt2")
    with pytest.raises(LoadError, match=r"`context` is 1024, but .*gpt2\.gguf has only 512 positions"):
        Gguf(llama(path, context=1024))
    assert Driver(Gguf(llama(path, slots=1, context=512))).ask("e" * 600).refusal.code == "context_overflow"


WINDOWED = ("gemma3", "gpt-oss")
"""How much of a prompt is found again depends on what the window's memory holds."""


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K_M"])
def test_quantised_embedding_model_gives_similar_vectors_alone_and_batched(
    floats: Floats, tmp_path: Path, kind: str
) -> None:
    exact = GgufEmbedder(llama(floats.of("bert")))
    path = quantise(floats.of("bert"), tmp_path / "m.gguf", kind)
    assert QUANTS[kind] in types_of(path)
    embedder = GgufEmbedder(llama(path))
    texts = ["the cat sleeps", "the dog runs, and the old cat sleeps", "a river", "the bridge is new"]
    together = embedder.embed([embedder.read(text, None) for text in texts])
    alone = np.concatenate([embedder.embed([embedder.read(text, None)]) for text in texts])
    assert np.allclose(np.sum(together * alone, axis=1), 1, atol=1e-3)
    meant = exact.embed([exact.read(text, None) for text in texts])
    near = np.sum(together * meant, axis=1)
    assert near.min() > {"Q8_0": 0.999, "Q4_K_M": 0.97}[kind], near
    assert np.abs(meant @ meant.T - np.eye(4)).max() < near.min(), "different texts have different vectors"
