"""Speculation by the installed command: several tokens per step, and the text is unchanged."""

from pathlib import Path

import pytest

from tests import tiny_gguf
from tests.e2e.house import House, Outcome


@pytest.fixture
def circles(house: House, tmp_path: Path) -> House:
    """Two models of one file whose text runs in a circle: `loop` as it comes, `plain` with speculation switched off."""
    path = tmp_path / "circle.gguf"
    tiny_gguf.write(path, forgetful=True)
    house.ok("models", "add", "loop", path)
    house.ok("models", "add", "plain", path, "--set=speculation=off")
    return house


def ask(house: House, model: str, *options: str) -> Outcome:
    endless = ("--max-tokens", "100", "--logit-bias", f"{tiny_gguf.EOS}=-100", "--no-cache", "--json")
    return house.ok("ask", "why?", "-m", model, *endless, *options)


@pytest.mark.parametrize("options", [("--temperature", "0"), ("--temperature", "0.05", "--seed", "7")])
def test_repetition_is_drafted_and_the_text_is_unchanged(circles: House, options: tuple[str, ...]) -> None:
    fast, slow = ask(circles, "loop", *options).last, ask(circles, "plain", *options).last
    assert fast["text"] == slow["text"]
    assert fast["usage"]["completion_tokens"] == slow["usage"]["completion_tokens"] == 100
    assert 0 < fast["timings"]["accepted"] <= fast["timings"]["drafted"]
    assert (slow["timings"]["drafted"], slow["timings"]["accepted"]) == (None, None)


def test_repro_drafts_no_tokens(circles: House) -> None:
    timings = ask(circles, "loop", "--repro").last["timings"]
    assert (timings["drafted"], timings["accepted"]) == (None, None)


def test_deltas_add_up_to_the_text_with_several_tokens_per_step(circles: House) -> None:
    reply = ask(circles, "loop", "--temperature", "0", "--stop", "zzzz")
    assert reply.pieces == reply.last["text"]
    assert reply.last["timings"]["accepted"] > 0


def test_an_invalid_speculation_setting_is_refused(house: House, tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "tiny.gguf")
    outcome = house.run("models", "add", "tiny", tmp_path / "tiny.gguf", "--set=speculation=magic")
    assert outcome.status == 5
    assert "speculation" in outcome.err
    assert "ngram, off" in outcome.err
