"""`draft`: a smaller model proposes tokens, the text is unchanged, and a draft that does not match is refused."""

from pathlib import Path

import pytest
from llmctld.engine.embed.convert import convert

from tests import odd_gguf, tiny_bert, tiny_gguf
from tests.e2e.house import House, Outcome

ENDLESS = ("--max-tokens", "120", "--logit-bias", f"{tiny_gguf.EOS}=-100", "--no-cache", "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """big.gguf; small.gguf predicts the same tokens in a tenth of the time."""
    tiny_gguf.write(tmp_path / "big.gguf", layers=24, idle=22, dim=128, sharp=8)
    tiny_gguf.write(tmp_path / "small.gguf", layers=2, dim=128, sharp=8)
    return tmp_path


def ask(house: House, model: str, *options: str) -> Outcome:
    return house.ok("ask", "why?", "-m", model, *ENDLESS, *options)


@pytest.mark.parametrize("options", [("--temperature", "0"), ("--temperature", "0", "--grammar", "words.gbnf")])
def test_tokens_of_the_draft_are_accepted_and_the_text_is_unchanged(
    house: House, folder: Path, options: tuple[str, ...]
) -> None:
    """The text has no repetition, so accepted tokens come from the draft."""
    (house.home / "words.gbnf").write_text("root ::= [A-Za-z0-9 .,!?\\n]{100}\n")
    exact = ("--set=kv_type=f32", "--set=flash_attention=false")
    house.ok("models", "add", "fast", folder / "big.gguf", f"--set=draft={folder / 'small.gguf'}", *exact)
    house.ok("models", "add", "ngram", folder / "big.gguf", *exact)
    house.ok("models", "add", "slow", folder / "big.gguf", "--set=speculation=off", *exact)
    fast, ngram, slow = (ask(house, model, *options).last for model in ("fast", "ngram", "slow"))
    assert fast["text"] == slow["text"]
    assert fast["usage"]["completion_tokens"] == slow["usage"]["completion_tokens"] > 90
    assert fast["timings"]["accepted"] <= fast["timings"]["drafted"]
    assert fast["timings"]["accepted"] > ngram["timings"]["accepted"]
    assert (slow["timings"]["drafted"], slow["timings"]["accepted"]) == (None, None)


def test_repro_uses_no_draft(house: House, folder: Path) -> None:
    house.ok("models", "add", "m", folder / "big.gguf", f"--set=draft={folder / 'small.gguf'}")
    timings = ask(house, "m", "--repro").last["timings"]
    assert (timings["drafted"], timings["accepted"]) == (None, None)


def test_a_relative_draft_path_works_and_a_changed_draft_reloads_the_model(house: House, folder: Path) -> None:
    """Another draft is another model identity: the model is reloaded, and earlier stored answers are no hits."""
    draft = house.home / "draft.gguf"  # the command runs in that folder
    draft.write_bytes((folder / "small.gguf").read_bytes())
    house.ok("models", "add", "m", folder / "big.gguf", "--set=draft=draft.gguf")
    stored = ("ask", "why?", "-m", "m", "--temperature", "0", "--max-tokens", "3", "--json")
    first, again = house.ok(*stored).last, house.ok(*stored).last
    assert again["cache"]["hit"] == "memory"
    (engine,) = house.ok("ps", "--json").lines
    tiny_gguf.write(draft, layers=1, dim=64)
    other = house.ok(*stored).last
    assert other["cache"]["key"] != first["cache"]["key"]
    assert other["text"] == first["text"]
    assert [line["pid"] for line in house.ok("ps", "--json").lines] != [engine["pid"]]


def refused(outcome: Outcome, folder: Path, *words: str) -> None:
    assert (outcome.status, outcome.out) == (4, ""), outcome
    for word in (str(folder / "big.gguf"), str(folder / "small.gguf"), "`draft`", *words):
        assert word in outcome.err


@pytest.mark.parametrize("content", [None, b"", b"not a model at all" * 100])
def test_adding_a_model_refuses_a_missing_or_corrupt_draft_file(
    house: House, folder: Path, content: bytes | None
) -> None:
    (folder / "small.gguf").unlink()
    if content is not None:
        (folder / "small.gguf").write_bytes(content)
    refused(house.run("models", "add", "m", folder / "big.gguf", f"--set=draft={folder / 'small.gguf'}"), folder)
    assert house.ok("models", "ls", "--json").out == ""


def test_a_deleted_draft_file_is_a_model_error(house: House, folder: Path) -> None:
    house.ok("models", "add", "m", folder / "big.gguf", f"--set=draft={folder / 'small.gguf'}")
    (folder / "small.gguf").unlink()
    refused(house.run("ask", "hi", "-m", "m"), folder, "No such file")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"texts": {270: "Q"}}, "token 270 is 'Q', not 's'"),
        ({"more": ["one", "two"]}, "it has 315 tokens, not 313"),
        ({"causal": False}, "does not generate text"),
    ],
)
def test_loading_refuses_a_draft_that_does_not_match_the_model(
    house: House, folder: Path, options: dict[str, object], words: str
) -> None:
    house.ok("models", "add", "m", folder / "big.gguf", f"--set=draft={folder / 'small.gguf'}")
    tiny_gguf.write(folder / "small.gguf", **options)  # type: ignore[arg-type]
    refused(house.run("ask", "hi", "-m", "m"), folder, words)


def test_a_recurrent_draft_is_not_used_and_a_notice_says_so(house: House, folder: Path) -> None:
    odd_gguf.recurrent(folder / "small.gguf")
    house.ok("models", "add", "m", folder / "big.gguf", f"--set=draft={folder / 'small.gguf'}")
    outcome = ask(house, "m")
    assert f"no drafts, because {folder / 'small.gguf'} has a recurrent state" in outcome.err


def test_adding_a_model_refuses_an_unsupported_or_invalid_draft(house: House, folder: Path) -> None:
    convert(tiny_bert.write(house.home / "bert"), house.home / "bert.gguf")
    outcome = house.run("models", "add", "m", "echo", f"--set=draft={folder / 'small.gguf'}")
    assert (outcome.status, "echo supports no `draft`" in outcome.err) == (5, True)
    outcome = house.run("models", "add", "m", folder / "big.gguf", f"--set=draft={house.home / 'bert.gguf'}")
    assert (outcome.status, "does not generate text" in outcome.err) == (4, True)
    assert house.ok("models", "ls", "--json").lines == []
