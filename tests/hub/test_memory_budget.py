"""How much host and GPU memory models need, with simulated GPUs."""

from pathlib import Path

import pytest
from llmctld.models.catalogue.target import ECHO, LLAMA, TORCH, TRANSFORMERS
from llmctld.models.machine import machine
from llmctld.models.machine.machine import Gpu
from llmctld.models.memory.estimate import Estimates
from llmctld.models.running.load_plan import MemorySize
from llmctld.models.running.memory_budget import MemoryBudget

from llmctl.config import Limits, ModelEntry, Size
from tests.hub.scene import a_catalog

MIB = 2**20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Not a valid model, so that its file size is the estimate."""
    path = tmp_path / "weights.gguf"
    path.write_bytes(bytes(3 * MIB))
    return path


def supply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: int) -> MemoryBudget:
    monkeypatch.setattr(machine, "gpus", lambda: [Gpu(0, "a card", gpu, gpu)] if gpu else [])
    catalog = a_catalog(tmp_path)
    return MemoryBudget(catalog, Estimates(catalog, tmp_path / "measured.json"), Limits(memory_bytes=Size(64 * MIB)))


@pytest.mark.parametrize("backend", [LLAMA, TRANSFORMERS, TORCH])
def test_a_model_needs_gpu_memory_and_the_rest_from_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path, backend: str
) -> None:
    entry = ModelEntry(name="m", target=str(file), backend=backend)
    assert supply(tmp_path, monkeypatch, 10 * MIB).needs(entry) == MemorySize(0, 3 * MIB)
    assert supply(tmp_path, monkeypatch, 0).needs(entry) == MemorySize(3 * MIB, 0)
    small = supply(tmp_path, monkeypatch, 2 * MIB)
    assert small.limit == MemorySize(64 * MIB, int(1.8 * MIB))
    assert small.needs(entry) == MemorySize(3 * MIB - int(1.8 * MIB), int(1.8 * MIB))


@pytest.mark.parametrize("settings", [{"device": "cpu"}, {"gpu_layers": 0}])
def test_model_kept_off_the_gpu_needs_host_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path, settings: dict[str, object]
) -> None:
    entry = ModelEntry(name="m", target=str(file), backend=LLAMA, settings=settings)
    assert supply(tmp_path, monkeypatch, 10 * MIB).needs(entry) == MemorySize(3 * MIB, 0)


def test_echo_needs_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ModelEntry(name="m", target="echo", backend=ECHO, settings={"takes": MIB})
    assert supply(tmp_path, monkeypatch, 10 * MIB).needs(entry) == MemorySize(MIB, 0)
