"""With a draft model the text is the same, token for token, in fewer steps, whatever the drafts and cancellations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from gguf import GGUFReader
from llmctld.engine.core.draft_model import DraftRequest, Proposal
from llmctld.engine.core.draft_policy import DraftPolicy, Prospect
from llmctld.engine.cost.pace import Pace
from llmctld.engine.llama.model import Gguf
from llmctld.engine.streams.saved import SavedStates
from numpy.typing import NDArray

from tests import tiny_gguf
from tests.engine.driver import Driver, llama
from tests.engine.test_speculated import Counting, Wide, story, tied, true
from tests.stress.scale import count, seeded

Weights = NDArray[np.float32]
ENDLESS: dict[str, Any] = {"max_tokens": 60, "ignore_eos": True}


class Eager(DraftPolicy):
    """Treats drafts as free, whatever this machine measures, so that one is requested wherever it could be right."""

    def _price(self, asked: list[tuple[Prospect, int]]) -> float:
        return 0.0


class Dear(Pace):
    """As if the model were large, so that prefixes are kept, copied and saved."""

    token_ms = 100.0


class Drafting(Counting):
    """`check()` runs after each step, and with it that of the draft model's streams."""

    def __init__(self, model: Gguf, **options: Any) -> None:
        super().__init__(model, **options)
        self.loop.scheduler.batcher.draft_policy = Eager(model.draft_model)


def changed(path: Path, other: Path, change: Callable[[str, Weights], Weights]) -> Path:
    """Rewrites the model at `path`, with `change` applied to each tensor by name."""
    content = bytearray(path.read_bytes())
    for tensor in GGUFReader(path).tensors:
        begin, values = int(tensor.data_offset), np.array(tensor.data, np.float32)
        content[begin : begin + values.nbytes] = change(tensor.name, values).astype(np.float32).tobytes()
    other.write_bytes(content)
    return other


def noisy(_: str, weights: Weights) -> Weights:
    """Adds a little noise: often right, but not always."""
    off = np.random.default_rng(5).normal(0, 0.05 * float(weights.std()), weights.shape)
    near: Weights = (weights + off).astype(np.float32)
    return near


def wrong(name: str, weights: Weights) -> Weights:
    """Shifts the output by one token: confident and never right."""
    shifted: Weights = np.roll(weights, 1, axis=0) if name == "output.weight" else weights
    return shifted


def nothing(_: str, weights: Weights) -> Weights:
    return np.full_like(weights, np.nan)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """big.gguf, and drafts of it: itself, one that is right often, one that is always wrong, and one that says NaN."""
    folder = tmp_path_factory.mktemp("models")
    tiny_gguf.write(folder / "big.gguf", sharp=8)
    for change in (noisy, wrong, nothing):
        changed(folder / "big.gguf", folder / f"{change.__name__}.gguf", change)
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> Gguf:
    """The slow reference: it never drafts."""
    return Wide(folder / "big.gguf", "off")


@pytest.fixture(scope="module")
def drafting(folder: Path) -> Callable[[str], Gguf]:
    made: dict[str, Gguf] = {}

    def model(name: str) -> Gguf:
        if name not in made:
            made[name] = Wide(folder / "big.gguf", "ngram", str(folder / f"{name}.gguf"))
        return made[name]

    return model


def test_model_as_its_own_draft_saves_most_steps(drafting: Callable[[str], Gguf], plain: Gguf) -> None:
    fast, slow = Drafting(drafting("big")), Counting(plain)
    expected, got = slow.ask("why?", **ENDLESS), fast.ask("why?", **ENDLESS)
    assert got.text == expected.text
    true(got.done)
    assert fast.rounds < slow.rounds / 3
    assert (got.done.accepted or 0) > 0.8 * (got.done.drafted or 0)


@pytest.mark.parametrize("name", ["big", "noisy", "wrong"])
def test_random_schedules_with_a_draft_model_equal_single_requests_without_one(
    drafting: Callable[[str], Gguf], plain: Gguf, name: str
) -> None:
    """With arrivals, cancels, overlapping prompts, preemption, sampling and penalties, the answers stay the same."""
    dice, model, accepted = seeded(), drafting(name), 0
    for _ in range(count(100)):
        fast = Drafting(model, batch=dice.choice((16, 64, 256)), saved=SavedStates(None, 2**22, 0), pace=Dear())
        families = [story(dice, 150) for _ in range(2)]
        asked: dict[int, tuple[str, dict[str, Any]]] = {}
        dropped: set[int] = set()
        for _ in range(dice.randrange(3, 8)):
            prompt = dice.choice(families)[: dice.randrange(1, 150)] + story(dice, dice.randrange(0, 40))
            options: dict[str, Any] = {"max_tokens": dice.randrange(1, 90), "ignore_eos": dice.random() < 0.7}
            if dice.random() < 0.3:
                options |= {"temperature": 0.5, "seed": dice.randrange(100)}
            if dice.random() < 0.3:
                options |= {"repeat_penalty": 1.1}
            asked[fast.submit(prompt, priority=dice.randrange(3), **options)] = prompt, options
            for _ in range(dice.randrange(0, 15)):
                if not (fast.loop.scheduler.idle and fast.inbox.empty()):
                    fast.step()
            if dice.random() < 0.2:
                dropped.add(victim := dice.choice(list(asked)))
                fast.drop(victim)
        fast.run()
        for id, (prompt, options) in asked.items():
            slow = Counting(plain)
            expected, got = slow.ask(prompt, **options), fast.replies[id]
            accepted += got.done.accepted or 0
            if got.done.reason == "cancelled":
                assert id in dropped
                continue
            true(got.done)
            assert got.text == expected.text or tied(plain, fast.tokens[id], slow.tokens[1]), (prompt, options)
    assert accepted > (count(100) * (0 if name == "wrong" else 20))


def test_draft_model_that_is_always_wrong_is_soon_switched_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real policy, with the draft model's cost as measured on this machine; a row costs a tenth of a step."""
    model = Gguf(llama(folder / "big.gguf", speculation="ngram", draft=str(folder / "wrong.gguf")))
    assert model.draft_model is not None
    propose, calls = model.draft_model.propose, []

    def spy(asks: dict[int, DraftRequest]) -> dict[int, Proposal]:
        calls.append(asks)
        return propose(asks)

    monkeypatch.setattr(model.draft_model, "propose", spy)
    counting = Counting(model, row_ms=1)
    done = counting.ask("why?", max_tokens=400, ignore_eos=True, temperature=0.8, seed=3).done
    assert 0 < len(calls) < 30
    assert done.completion_tokens == 400


@pytest.mark.parametrize(
    "options", [{"grammar": "root ::= [a-z ]+"}, {"schema": '{"type": "string", "minLength": 30}'}]
)
@pytest.mark.parametrize("sampled", [{}, {"temperature": 0.7, "seed": 5}])
def test_drafted_tokens_that_the_grammar_forbids_are_never_accepted(
    drafting: Callable[[str], Gguf], plain: Gguf, options: dict[str, Any], sampled: dict[str, Any]
) -> None:
    fast = Drafting(drafting("big"))
    got = fast.ask("why?", max_tokens=60, **options, **sampled)
    assert got.text == Counting(plain).ask("why?", max_tokens=60, **options, **sampled).text
    assert got.done.drafted


@pytest.mark.parametrize("name", ["big", "noisy"])
def test_seeded_answer_is_the_same_with_a_draft_model(drafting: Callable[[str], Gguf], plain: Gguf, name: str) -> None:
    accepted = 0
    for seed in range(6):
        options: dict[str, Any] = {**ENDLESS, "temperature": 0.6, "seed": seed}
        got = Drafting(drafting(name)).ask("why?", **options)
        assert got.text == Counting(plain).ask("why?", **options).text
        accepted += got.done.accepted or 0
    assert accepted > 20


def test_draft_model_with_nan_logits_does_not_change_the_answer(drafting: Callable[[str], Gguf], plain: Gguf) -> None:
    fast = Drafting(drafting("nothing"))
    options: dict[str, Any] = {**ENDLESS, "temperature": 0.9, "seed": 1}
    assert fast.ask("why?", **options).text == Counting(plain).ask("why?", **options).text
    assert fast.ask("why?", **ENDLESS).text == Counting(plain).ask("why?", **ENDLESS).text


def test_reproducible_request_uses_no_drafts(drafting: Callable[[str], Gguf]) -> None:
    fast = Drafting(drafting("big"))
    done = fast.ask("why?", **ENDLESS, repro=True).done
    assert (done.drafted, done.accepted) == (None, None)
    assert fast.rounds == 60


def test_draft_file_is_not_opened_with_speculation_off(folder: Path) -> None:
    load = llama(folder / "big.gguf", speculation="off", draft=str(folder / "nowhere.gguf"))
    assert Gguf(load).draft_model is None


def test_draft_model_counts_towards_the_memory_limit(folder: Path) -> None:
    alone = Gguf(llama(folder / "big.gguf", context=2048, slots=4, speculation="ngram")).loaded
    load = llama(folder / "big.gguf", context=2048, slots=4, speculation="ngram", draft=str(folder / "big.gguf"))
    both = Gguf(load).loaded
    assert both.memory_bytes > 1.9 * alone.memory_bytes
    tight = Gguf(msgspec.structs.replace(load, memory_bytes=both.memory_bytes * 2 // 3))
    assert tight.loaded.memory_bytes <= both.memory_bytes * 2 // 3
    assert 1 <= tight.loaded.slots < 4
    assert "big with its draft: slots 4 -> " in tight.loaded.notices[0]
    Driver(tight).ask("why?", **ENDLESS)


def test_draft_model_works_with_a_batch_of_one_token(folder: Path) -> None:
    """`batch` may be as small as 1."""
    model = Gguf(llama(folder / "big.gguf", batch=1, slots=2, speculation="ngram", draft=str(folder / "big.gguf")))
    driver = Driver(model, batch=1)
    driver.loop.scheduler.batcher.draft_policy = Eager(model.draft_model)
    ids = [driver.submit(prompt, max_tokens=20) for prompt in ("why?", "how?")]
    driver.run()
    assert all(driver.replies[id].done.completion_tokens for id in ids)
