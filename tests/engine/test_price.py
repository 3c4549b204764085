"""The time that a step counts as: measured, or configured by a test."""

from pathlib import Path

import pytest
from llmctld.engine.cost.price import FixedStepTime, parse_step_time
from llmctld.engine.llama.model import Gguf

from tests.engine.driver import Driver, llama


def test_step_time_is_read_as_milliseconds_per_pass_and_per_row() -> None:
    price = parse_step_time({"LLMCTL_ENGINE_STEP_MS": "8 0.5"})
    assert price == FixedStepTime(8.0, 0.5)
    assert price.ms(2, 10) == 21.0
    assert price.of_draft.ms(2, 10) == pytest.approx(2.1)
    assert parse_step_time({}) is parse_step_time({"LLMCTL_ENGINE_STEP_MS": ""}) is None
    for said in ("8", "8 a", "1 2 3"):
        with pytest.raises(ValueError, match=r"LLMCTL_ENGINE_STEP_MS is '.*', but must be two numbers"):
            parse_step_time({"LLMCTL_ENGINE_STEP_MS": said})


def test_configured_step_time_replaces_the_measured_one(base: Gguf) -> None:
    """Without one the clock decides."""
    counted, measured = Driver(base), Driver(base)
    measured.loop._price = None
    for driver in (counted, measured):
        driver.ask("x" * 100, max_tokens=20, ignore_eos=True)
    cost, pace = counted.loop.scheduler.batcher.speculation.cost, counted.loop.pace
    assert cost.estimate(1, 1) == pytest.approx(10.0)
    assert pace.token_ms == pytest.approx(2.0, rel=0.1)
    assert 0 < measured.loop.scheduler.batcher.speculation.cost.estimate(1, 1) != pytest.approx(10.0)
    assert 0 < measured.loop.pace.token_ms != pytest.approx(2.0, rel=0.01)


def test_steps_are_priced_only_where_something_is_drafted(files: Path) -> None:
    drafting, plain = (Driver(Gguf(llama(files / "base.gguf", speculation=which))) for which in ("ngram", "off"))
    for driver in (drafting, plain):
        driver.loop._price = None
        driver.loop._prices_steps = driver.loop._model.drafts
        driver.ask("hello", max_tokens=5, ignore_eos=True)
    assert drafting.loop.scheduler.batcher.speculation.cost.known
    assert not plain.loop.scheduler.batcher.speculation.cost.known
