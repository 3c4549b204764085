"""The guide's answers against the live command line, and its training; the model itself is in test_guide_model.py.

How many held-out questions it answers is measured by `make bench-guide`, not here.
"""

import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tools.guide.measure import questions
from tools.guide.model.samples import REFUSAL, Samples, answer
from tools.guide.model.train import WORDS, train
from tools.guide.texts import answers, phrasings

from llmctl import config
from llmctl.cli import main
from tests.guide import likeness, lines

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Other tests run beside this one, and so small a network gains nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- the answers and the live command line --------------------------------------------------------------------------


@pytest.mark.parametrize("entry", answers.entries(), ids=lambda entry: entry.name)
def test_each_command_line_of_an_answer_exists(entry: answers.Entry) -> None:
    """Fails when a command is renamed: update the answer in answers.yaml, then `make guide`."""
    found = answers.command_lines(entry.answer)
    assert found, f"the answer {entry.name} has no command line"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in found:
        try:
            parsed = lines.parse(line)
        except ValueError as error:
            pytest.fail(f"the answer `{entry.name}` names a command that does not exist: {error}")
        if parsed.before[:1] == ("make",):
            assert re.search(rf"^{parsed.before[1]}:", makefile, flags=re.M), f"{entry.name}: {line}"


@pytest.mark.parametrize("entry", answers.entries(), ids=lambda entry: entry.name)
def test_each_setting_of_an_answer_exists(entry: answers.Entry) -> None:
    sections = dict(config.sections(config.Config()))
    of_model = set(config.keys(config.ModelSettings()))
    changed = [words for line in re.findall(r"llmctl models set \S+(.*)", entry.answer) for words in line.split()]
    for key in re.findall(r"--set ([a-z_]+)=", entry.answer) + re.findall(r"(?m)^'?([a-z_]+)=", "\n".join(changed)):
        assert key in of_model, f"the answer `{entry.name}` names a setting that does not exist: {key}"
    for keys, section in re.findall(r"[Ss]et (.+?) under \[([\w.]+)\]", entry.answer):
        known = set(config.keys(sections[section]))
        named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)*(?= = |\b)", re.sub(r'"[^"]*"', "", keys))) - {
            "and",
            "or",
            "true",
            "to",
        }
        assert named & known, f"the answer `{entry.name}` names no setting of [{section}]: {keys}"
        assert all(word in known for word in named if "_" in word), f"{entry.name}: {keys}"
    for variable in re.findall(r"LLMCTL_([A-Z]+(?:__[A-Z_]+)+)=", entry.answer):
        section, _, key = variable.lower().replace("__", ".").rpartition(".")
        assert key in config.keys(sections[section]), f"the answer `{entry.name}` names {variable}"


def every_option() -> set[str]:
    """All options of all commands."""
    found = {"--help"}
    left = [lines.ROOT, *(lines.ROOT.get_command(None, name) for name in main.COMMANDS)]
    while left:
        command = left.pop()
        left += getattr(command, "commands", {}).values()
        found |= {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    return found


def test_each_option_in_the_sentences_of_an_answer_exists() -> None:
    known = every_option()
    for entry in answers.entries():
        sentences = re.sub(r"`pip [^`]+`", "", answers.SHELL.sub("", entry.answer))
        for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", sentences):
            assert option in known, f"the answer `{entry.name}` names an option that does not exist: {option}"


def test_there_are_many_answers_with_many_phrasings() -> None:
    assert len(answers.entries()) >= 150
    rng = random.Random(0)
    for entry in answers.entries():
        assert len({phrasings.core(entry, rng) for _ in range(200)}) >= 25, entry.name


def test_an_answer_is_short() -> None:
    for entry in answers.entries():
        assert len(entry.answer) <= 260, entry.name
        assert answers.SHELL.match(entry.answer), f"{entry.name} does not begin with a command line"


# ---- the training ---------------------------------------------------------------------------------------------------


def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Seeded: the same samples, the same weights, whether or not it was killed in between."""

    def killed(drawn: list[str]) -> set[str]:
        if next(calls) == 8 + WORDS + 1:  # chunks for the vocabulary, for single words, and the first one
            raise KeyboardInterrupt
        return set()

    calls = itertools.count()
    whole = train(Samples(5, size=80), 2, tmp_path / "whole", "texts")
    with pytest.raises(KeyboardInterrupt):
        train(Samples(5, killed, size=80), 2, tmp_path / "parts", "texts")
    assert (tmp_path / "parts" / "seed-5.pt").exists()
    parts = train(Samples(5, size=80), 2, tmp_path / "parts", "texts")
    assert parts.questions == whole.questions
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_no_training_question_is_like_a_held_out_one() -> None:
    """The training leaves such questions out: of a sample, some are found, and none of them is trained on."""
    held = [question.text for question in questions.held_out()]
    samples = Samples(11, lambda drawn: {text for text, _, _ in likeness.pairs_above(drawn, held)}, size=1500)
    trained_on = [question for question, _ in samples.chunk(0)]
    assert len(trained_on) > 1400
    assert list(likeness.pairs_above(trained_on, held)) == []


def test_no_answer_stands_in_the_package_outside_the_model() -> None:
    sentences = {
        sentence
        for name in (*(entry.name for entry in answers.entries()), REFUSAL)
        for sentence in re.split(r"(?<=[.]) |\n", answer(name))
        if len(sentence.split()) >= 8 and not answers.SHELL.match(sentence)
    }
    assert len(sentences) > 150
    for package in ("llmctl", "daemon/llmctld", "daemon/llmctl_gateway"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix not in {".gguf", ".pyc", ".so"}:
                text = re.sub(r"\s+", " ", path.read_bytes().decode("utf-8", "replace"))
                assert [sentence for sentence in sentences if sentence in text] == [], path
