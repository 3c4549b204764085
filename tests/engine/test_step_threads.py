"""The thread count that is set in the real library before each step."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from llmctld.engine.core import step_threads
from llmctld.engine.core.step_threads import StepThreads
from llmctld.engine.cost.threads import Threads
from llmctld.engine.llama.model import Gguf
from llmctld.engine.streams.sequence import Chunk

from tests.engine.driver import Driver, echo, llama
from tests.engine.test_scheduler import request


class Told(list[int]):
    """The thread counts set in the library, step by step."""


def crowded(self: Threads, passes: int, rows: int, ms: float, share: float) -> None:
    """Pretends that two threads slow each other down, whatever this machine measures."""
    REALLY(self, passes, rows, 50.0 if self.count == 2 else 20.0, 0.5 if self.count == 2 else 1.0)


REALLY = Threads.measured


def listen(model: Gguf, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also records the thread counts set for this model in `told`."""

    def use(count: int) -> None:
        told.append(count)
        model._use(count)

    monkeypatch.setattr(model._step_threads, "_use", use)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr(Threads, "measured", crowded)
    return Told()


def test_fewer_threads_beside_other_programs_give_the_same_answers(
    files: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = llama(files / "base.gguf", threads=2, kv_type="f32", flash_attention=False)
    fixed, model = Gguf(load), Gguf(msgspec.structs.replace(load, fewer_threads=True))
    listen(model, told, monkeypatch)
    for options in ({}, {"temperature": 0.8, "seed": 3}):
        asked: dict[str, Any] = {"max_tokens": 120, "ignore_eos": True, **options}
        assert Driver(model).ask("why?", **asked).text == Driver(fixed).ask("why?", **asked).text
    assert told[0] == 2
    assert told[-20:].count(1) > 15


def test_reproducible_request_uses_all_threads_in_every_step(
    files: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Gguf(llama(files / "base.gguf", threads=2, fewer_threads=True))
    Driver(model).ask("why?", max_tokens=60, ignore_eos=True)
    listen(model, told, monkeypatch)
    Driver(model).ask("why?", max_tokens=60, ignore_eos=True, repro=True)
    assert set(told) == {2}


def test_prompt_and_generation_steps_have_separate_thread_counts() -> None:
    told = Told()
    made = StepThreads(echo(threads=2, fewer_threads=True), False, told.append)
    sequence = request(1, 100)
    generating, prompt = Chunk(sequence, 0, 0, 1), Chunk(sequence, 0, 0, 90)
    made._texts._rung = 1
    for chunk in (generating, prompt, generating):
        assert made.compute([chunk], lambda: "outcome") == "outcome"
    assert told == [1, 2, 1]


def test_thread_count_is_fixed_when_a_gpu_computes(told: Told) -> None:
    made = StepThreads(echo(threads=2, fewer_threads=True), True, told.append)
    for _ in range(50):
        made.compute([Chunk(request(1, 1), 0, 0, 1)], lambda: None)
    assert set(told) == {2}


def test_fixed_thread_count_is_not_measured(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "process_time", lambda: pytest.fail("the clock of the processors was read"))
    made = StepThreads(echo(threads=2), False, told.append)
    assert made.compute([Chunk(request(1, 1), 0, 0, 1)], lambda: "outcome") == "outcome"
    assert told == [2]


def test_step_reports_its_share_of_the_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, float, float]] = []
    monkeypatch.setattr(Threads, "measured", lambda _, *said: seen.append(said))
    clock, spent = iter([10.0, 10.5]), iter([3.0, 3.25])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", lambda: next(spent))
    step_threads.step(Threads(2), lambda _: None, 1, 7, lambda: None)
    assert seen == [(1, 7, 500.0, 0.25)]
