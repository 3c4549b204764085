"""GPU layers and devices: `ps` shows what the engine measured, and a missing device is reported."""

from pathlib import Path

import pytest
from llmctld.models.machine.machine import gpus

from tests import tiny_bert, tiny_gguf
from tests.e2e.house import House

no_gpu = pytest.mark.skipif(bool(gpus()), reason="for machines without a GPU")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    tiny_gguf.write(tmp_path / "tiny.gguf")
    return tmp_path / "tiny.gguf"


def test_ps_shows_the_device_placement_that_the_engine_measured(house: House, tiny: Path, tmp_path: Path) -> None:
    house.ok("models", "add", "tiny", tiny, "--set=device=cpu", "--set=gpu_layers=99")
    house.ok("models", "load", "tiny")
    line = house.ps("tiny")
    assert (line["gpu_bytes"], line["gpu_layers"], line["layers"], line["gpu_share"]) == (0, 0, 3, 0.0)
    assert line["devices"] == ["CPU"]
    assert {"context", "slots", "busy", "tokens_per_second", "until"} <= line.keys()
    assert "100% CPU" in house.ok("ps").out
    house.echo().ok("models", "load", "echo")
    assert (house.ps("echo")["devices"], house.ps("echo")["gpu_share"]) == ([], None)


@no_gpu
def test_gpu_layers_without_a_gpu_load_on_the_cpu_with_a_notice(house: House, tiny: Path) -> None:
    house.ok("models", "add", "tiny", tiny, "--set=gpu_layers=2")
    outcome = house.ok("models", "load", "tiny")
    assert "`gpu_layers` is 2, but the model runs on the CPU" in outcome.err


@no_gpu
def test_a_missing_device_is_status_4_and_the_available_ones_are_listed(
    house: House, tiny: Path, tmp_path: Path
) -> None:
    house.ok("models", "add", "tiny", tiny, "--set=device=cuda:1")
    outcome = house.run("ask", "hi", "-m", "tiny", "--json")
    assert (outcome.status, outcome.error["code"]) == (4, "model_unavailable")
    assert "no device cuda:1" in outcome.error["message"]
    assert "Available: cpu" in outcome.error["hint"]
    house.ok("models", "add", "bert", tiny_bert.write(tmp_path / "bert"), "--set=device=cuda")
    outcome = house.run("embed", "hi", "-m", "bert", "--json")
    assert outcome.status == 4
    assert "torch finds no device cuda" in outcome.error["message"]
    assert "Available: cpu" in outcome.error["hint"]


def test_an_invalid_device_or_tensor_split_is_refused(house: House, tiny: Path) -> None:
    outcome = house.run("models", "add", "tiny", tiny, "--set=device=gpu")
    assert outcome.status == 5
    assert "device: no such device; possible: auto, cpu, cuda, mps, vulkan, xpu" in outcome.err
    outcome = house.run("models", "add", "tiny", tiny, "--set=tensor_split=half")
    assert outcome.status == 5
    assert "tensor_split" in outcome.err
    outcome = house.run("config", "check", LLMCTL_MODELS__TINY__DEVICE="gpu")
    assert outcome.status == 2
    assert "models.tiny.device: no such device" in outcome.err
