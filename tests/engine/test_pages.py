"""Pages that were only filled with zeros are released, and the contents stay the same."""

import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from llmctld.engine.cost.pace import Pace
from llmctld.engine.llama.internals.pages import LARGE, STEP, anonymous_mappings, give_back_zeros
from llmctld.engine.llama.model import Gguf

from tests.engine.driver import Driver, llama
from tests.tiny_gguf import write

MIB = 2**20


class Dear(Pace):
    """As if this model were a thousand times larger: computing a prompt again would otherwise beat copying."""

    token_ms = 100.0


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells where memory lies")


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.fixture
def nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a system without /proc: no mappings are known."""
    monkeypatch.setattr("llmctld.engine.llama.internals.pages.MAPS", tmp_path / "none")


def filled(size: int) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    """An array of zeros of which every page was written."""
    array = np.empty(size, np.uint8)
    array.fill(0)
    return array


def test_zero_pages_are_released_and_other_data_is_kept() -> None:
    before = anonymous_mappings()
    array = filled(8 * LARGE)
    array[3 * LARGE + 7] = 1
    array[-1] = 2
    held = resident()
    given = give_back_zeros(before)
    assert 8 * LARGE - 4 * STEP <= given < 8 * LARGE
    assert held - resident() >= given - 4 * MIB
    assert (array[3 * LARGE + 7], array[-1], int(array.sum(dtype=np.int64))) == (1, 2, 3)


def test_older_mappings_are_not_released() -> None:
    array = filled(4 * LARGE)
    assert give_back_zeros(anonymous_mappings()) == 0
    assert not array.any()


@pytest.mark.usefixtures("nothing_is_told")
def test_nothing_is_released_without_memory_information() -> None:
    before = anonymous_mappings()
    array = filled(4 * LARGE)
    assert (before, give_back_zeros(before)) == ([], 0)
    assert not array.any()


def test_kv_cache_takes_physical_memory_only_when_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wide.gguf"
    write(path, context=65_536)
    load = llama(path, context=65_536, slots=4, retained=4)
    before = resident()
    model = Gguf(load)
    driver = Driver(model)
    text = driver.ask("a" * 3000).text
    assert model.loaded.memory_bytes > 128 * MIB, "admission counts the size it can grow to"
    assert resident() - before < 64 * MIB
    monkeypatch.setattr("llmctld.engine.llama.context.give_back_zeros", lambda _: 0)
    assert Driver(Gguf(load)).ask("a" * 3000).text == text


def test_stream_copy_takes_memory_only_for_the_copied_tokens(tmp_path: Path) -> None:
    """A stream has 16 MiB, and 600 tokens take one percent of it."""
    path = tmp_path / "wide.gguf"
    write(path, context=65_536)
    model = Gguf(llama(path, context=65_536, slots=4, retained=4))
    prompts = ["etaoin " * 80 + str(number) for number in range(8)]
    alone = [Driver(model).ask(prompt, repro=True).text for prompt in prompts]
    for stream in range(model.streams):
        model.cut(stream, 0)
    before, driver = resident(), Driver(model, pace=Dear())
    ids = [driver.submit(prompt) for prompt in prompts]
    driver.run()
    assert sum(driver.replies[id].done.cached_tokens > 500 for id in ids) == 7
    assert resident() - before < 16 * MIB
    assert [driver.replies[id].text for id in ids] == alone
