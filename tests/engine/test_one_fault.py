"""A faulty request ends alone: the others in its batch get the same answers as alone."""

from pathlib import Path
from typing import Any

import pytest
from llmctld.engine.core.draft_model import DraftRequest
from llmctld.engine.llama.model import Gguf
from llmctld.engine.llama.sampler import Sampler

from tests.engine.driver import Driver, llama
from tests.tiny_gguf import vocabulary, write


@pytest.mark.parametrize("steps", [1, 8])
def test_invalid_token_id_fails_only_its_request(base: Gguf, steps: int) -> None:
    """In a prompt, and in a step with several generating requests."""
    beside = [Driver(base).ask(words).text for words in ("why?", "when?")]
    driver = Driver(base)
    first, bad, last = driver.submit("why?"), driver.submit("hi"), driver.submit("when?")
    driver.step(steps)
    driver.loop.scheduler.running[bad].tokens[-1] = 10**6
    driver.run()
    refusal = driver.replies[bad].refusal
    assert refusal.code == "engine_failed"
    assert "llama.cpp cannot compute this request (llama_decode: -1): " in refusal.message
    assert [driver.replies[id].text for id in (first, last)] == beside
    assert driver.ask("hi").text == Driver(base).ask("hi", repro=True).text, "the failed request left tokens behind"


def test_engine_exits_when_no_request_can_be_computed(base: Gguf, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the hub starts a new engine instead of keeping one that refuses everything."""
    driver = Driver(base)
    driver.submit("why?")
    driver.submit("when?")
    monkeypatch.setattr(base, "_decode", lambda: -3)
    with pytest.raises(RuntimeError, match="llama_decode returned -3"):
        driver.run()


class PanicError(BaseException):
    """As libraries written in Rust raise: no Exception."""


@pytest.mark.parametrize("error", [IndexError, RecursionError, PanicError])
@pytest.mark.parametrize("where", ["encode", "sample", "piece"])
def test_error_during_a_request_ends_only_that_request(
    base: Gguf, monkeypatch: pytest.MonkeyPatch, where: str, error: type[BaseException]
) -> None:
    meant = Driver(base).ask("why?").text

    def fails(*_: Any) -> None:
        raise error("a bug of ours")

    def broken(sampler: Sampler, *_: Any) -> int:
        if sampler.scored is not None:
            fails()
        return sample(sampler, *_)

    sample = Sampler.sample
    driver = Driver(base)
    good = driver.submit("why?")
    if where == "encode":
        driver.step(1)
        monkeypatch.setattr(base, "encode", fails)
    bad = driver.submit("when?", logprobs=1)
    if where == "sample":
        monkeypatch.setattr(Sampler, "sample", broken)
    elif where == "piece":
        driver.step(2)
        monkeypatch.setattr(driver.loop.scheduler.running[bad].text, "feed", fails)
    driver.run()
    assert driver.replies[bad].refusal.code == "internal"
    assert driver.replies[good].text == meant


def test_exit_of_the_interpreter_ends_the_engine(base: Gguf, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(base)
    monkeypatch.setattr(base, "encode", lambda _: exit(3))
    driver.submit("why?")
    with pytest.raises(SystemExit):
        driver.run()


def test_token_missing_from_the_draft_model_does_not_end_the_engine(tmp_path: Path) -> None:
    """Vocabularies of one family are padded with unused tokens to different sizes; a request may contain one."""
    write(tmp_path / "big.gguf", unused=8)
    write(tmp_path / "small.gguf")
    model = Gguf(
        llama(tmp_path / "big.gguf", speculation="ngram", draft=str(tmp_path / "small.gguf"), slots=2)
    ).draft_model
    assert model is not None
    last = len(vocabulary()) + 7
    for text in ([1, 300, last, 301], [1, 300, last, 301, 302, last]):
        model.seat({1: text, 2: [1, 300]})
        proposals = model.propose({1: DraftRequest(text, 3), 2: DraftRequest([1, 300], 3)})
        assert list(proposals) == [1, 2]
        model.check()


def test_failing_draft_model_proposes_nothing_until_it_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("big.gguf", "small.gguf"):
        write(tmp_path / name, sharp=8.0)
    model = Gguf(
        llama(tmp_path / "big.gguf", speculation="ngram", draft=str(tmp_path / "small.gguf"), slots=2)
    ).draft_model
    assert model is not None
    asks = {1: DraftRequest([1, 300, 301], 3), 2: DraftRequest([1, 302], 3)}
    model.seat({id: ask.tokens for id, ask in asks.items()})
    meant = [proposal.tokens for proposal in model.propose(asks).values()]
    assert all(meant)
    with monkeypatch.context() as broken:
        broken.setattr(model._model, "_decode", lambda: -3)
        assert not any(proposal.tokens for proposal in model.propose(asks).values())
    assert [proposal.tokens for proposal in model.propose(asks).values()] == meant
    model.check()
