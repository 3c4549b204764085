"""The guide model as it ships: its file, its card, and that its answers come out of the model.

How many held-out questions it answers is measured by `make bench-guide`, not here.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from llmctld.engine.llama.model import Gguf
from llmctld.pipeline.intake.guide import LONGEST
from tools.guide.measure import questions, score
from tools.guide.model import file, greedy, tokens
from tools.guide.texts import answers, unrelated

from tests.engine.driver import Driver, llama

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "daemon" / "llmctld" / "guide" / "guide.gguf"
CARD = ROOT / "docs" / "guide-model.md"
STALE = "daemon/tools/guide/texts/answers.yaml has changed since the guide was trained: run `make guide`"
ASKED = [
    "how do i download a model?",
    "which models do i have",
    "clear the cache",
    "what does exit status 13 mean",
    "continue the last conversation",
    "how do I keep a model loaded",
    "get the answer as json",
    "restart the hub",
    "turn off thinking",
    "Where is the config file?",
]
UNRELATED = [
    "what is the capital of france",
    "how do i clear the cache in chrome",
    "write a poem about the sea",
    "hello there",
    "wie ist das wetter heute",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Other tests run beside this one, and so small a network gains nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def says() -> Driver:
    model = Gguf(llama(MODEL))
    return Driver(model)


# ---- the file and its card ------------------------------------------------------------------------------------------


def test_the_file_was_trained_on_the_answers_as_they_are() -> None:
    assert file.metadata(MODEL)["llmctl.guide.corpus"] == answers.corpus(), STALE


def test_the_card_is_that_of_the_file() -> None:
    card = CARD.read_text(encoding="utf-8")
    assert f"`{hashlib.sha256(MODEL.read_bytes()).hexdigest()}`" in card, "docs/guide-model.md: run `make guide`"
    assert f"{MODEL.stat().st_size:,} bytes" in card


def test_the_file_is_small_and_says_what_it_is() -> None:
    keys = file.metadata(MODEL)
    assert MODEL.stat().st_size <= 8_000_000
    assert keys["general.name"] == "guide"
    assert keys["general.license"] == "apache-2.0"
    assert unrelated.refusal().startswith(keys["llmctl.guide.refusal"])
    assert tokens.LONGEST == LONGEST  # the hub refuses what the template would cut
    assert 1_000_000 <= sum(weight.numel() for weight in file.network(MODEL).parameters()) <= 6_000_000


def test_the_package_contains_the_file() -> None:
    """A wheel has what lies in these folders, but for what git ignores."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'packages = \[.*"daemon/llmctld"', project)
    assert not any(
        "gguf" in line or "guide/" in line
        for line in (ROOT / ".gitignore").read_text().splitlines()
        if line != ".guide/"
    )


# ---- what it says ---------------------------------------------------------------------------------------------------


def test_it_answers_and_refuses_through_the_engine(says: Driver) -> None:
    given = [says.ask(question, max_tokens=120).text for question in ASKED]
    assert [score.refuses(text) for text in given] == [False] * len(ASKED)
    assert sum(answers.command_line(text) is not None for text in given) == len(ASKED)
    assert all(score.refuses(says.ask(question, max_tokens=120).text) for question in UNRELATED)


def test_the_engine_says_what_torch_says(says: Driver) -> None:
    network, vocabulary = file.network(MODEL), file.tokens(MODEL)
    for question in [*ASKED, *UNRELATED, "How   do I\n  add a MODEL??  ", "x" * 300]:
        said = says.ask(question, max_tokens=120).text
        assert said.strip() == greedy.text(network, vocabulary, question).strip(), question


def test_no_control_token_is_printed(says: Driver) -> None:
    assert not re.search(r"<\|", "".join(says.ask(question, max_tokens=120).text for question in ASKED))


# ---- honesty: the answers are in the weights ------------------------------------------------------------------------


def right_ones(model: Path, asked: list[questions.Question]) -> int:
    """How many of these questions the file answers right."""
    driver = Driver(Gguf(llama(model)))
    ids = [driver.submit(question.text, max_tokens=120) for question in asked]
    driver.run()
    return sum(score.right(question, driver.replies[id].text) for question, id in zip(asked, ids, strict=True))


def test_a_model_with_any_layer_zeroed_answers_nothing_right(tmp_path: Path) -> None:
    """None of its layers is idle: without one of them, which one does not matter, the score collapses."""
    sample = [question for question in questions.development() if question.about][::5]
    assert right_ones(MODEL, sample) >= 0.6 * len(sample)
    for layer in range(file.metadata(MODEL)["llama.block_count"]):
        zeroed = tmp_path / f"without-{layer}.gguf"
        file.zeroed(MODEL, zeroed, [f"blk.{layer}."])
        assert right_ones(zeroed, sample) <= 0.25 * len(sample), layer
