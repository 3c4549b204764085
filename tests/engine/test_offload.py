"""Which layers go to which GPU: as many as fit, dropping retained streams before layers, with sizes from the file."""

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given
from llmctld.engine.errors import LoadError
from llmctld.engine.fit import Shape, gpu_room
from llmctld.engine.llama.cells import KV_TYPES, cell_bytes
from llmctld.engine.llama.internals.ggml import Device, devices, tensor_bytes
from llmctld.engine.llama.internals.native_log import NativeLog
from llmctld.engine.llama.internals.offload import (
    Needs,
    arrange,
    bytes_on,
    bytes_per_gpu,
    layer_bytes,
    make_plan,
    split_files,
)
from llmctld.engine.llama.model import Gguf
from llmctld.engine.messages import Load

from tests.tiny_gguf import write

MIB = 2**20
LOAD = Load(name="m", backend="llama.cpp", path="x", threads=1, memory_bytes=2**30)
NEEDS = Needs([10 * MIB] * 4 + [20 * MIB], 16 * MIB, [5 * MIB], Shape(2, 512, 2))
"""Four layers and the output: 60 MiB of weights, 16 of KV memory, 5 to work with."""


def gpu(number: int = 0) -> Device:
    return Device(1, f"CUDA{number}", f"cuda:{number}", f"CUDA{number}", False, 100 * MIB, 100 * MIB)


def load(**fields: Any) -> Load:
    return msgspec.structs.replace(LOAD, **fields)


@pytest.mark.parametrize(
    ("room", "layers", "retained", "words"),
    [
        (81, 5, None, ""),
        (80, 5, 1, "m: retained 2 -> 1, because it needs about 81.0 MiB on the GPU, but may use only 80.0 MiB"),
        (73, 5, 0, "retained 2 -> 0"),
        (72, 4, 0, "m: gpu_layers 5 -> 4, retained 2 -> 0, because"),
        (25, 1, 0, "gpu_layers 5 -> 1"),
        (24, 0, 2, "m: gpu_layers 5 -> 0, because"),
    ],
)
def test_retained_streams_are_dropped_before_layers(room: int, layers: int, retained: int | None, words: str) -> None:
    plan = arrange(LOAD, [gpu()], NEEDS, [room * MIB])
    assert (plan.layers, plan.retained) == (layers, retained)
    assert words in "".join(plan.notices)
    assert bool(plan.gpus) is (layers > 0)


def test_offloaded_layers_are_at_most_those_requested_and_existing() -> None:
    assert arrange(load(gpu_layers=2), [gpu()], NEEDS, [10**12]).layers == 2
    assert arrange(load(gpu_layers=99), [gpu()], NEEDS, [10**12]).layers == 5
    assert "gpu_layers 2 -> 1" in arrange(load(gpu_layers=2), [gpu()], NEEDS, [30 * MIB]).notices[0]


def test_every_gpu_must_have_room_for_its_share() -> None:
    needs = NEEDS._replace(compute=[5 * MIB, 5 * MIB])
    plan = arrange(load(tensor_split=[1.0]), [gpu(0), gpu(1)], needs, [30 * MIB, 10**12])
    assert (plan.layers, plan.shares) == (1, [1.0, 0.0]), "the second GPU is left empty, as requested"
    assert arrange(LOAD, [gpu(0), gpu(1)], needs, [45 * MIB, 50 * MIB]).layers == 5


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=40),
    st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    st.data(),
)
def test_each_layer_is_on_one_gpu_and_none_is_on_gpus_without_a_share(
    sizes: list[int], shares: list[int], data: st.DataObject
) -> None:
    layers = data.draw(st.integers(0, len(sizes)))
    found = bytes_per_gpu(sizes, layers, shares)
    assert sum(found) == sum(sizes[len(sizes) - layers :])
    assert not any(size for size, share in zip(found[:-1], shares[:-1], strict=True) if not share)


def test_gpu_room_is_the_limit_minus_used_memory() -> None:
    assert gpu_room(None, 1000, 1000) == 900
    assert gpu_room(None, 1000, 400) == 300
    assert gpu_room(500, 1000, 400) == 0
    assert gpu_room(5000, 1000, 400) == 400


def test_buffers_of_a_gpu_exclude_other_gpus_and_pinned_memory() -> None:
    buffers = {"CUDA1": 1, "CUDA10": 2, "CUDA1_Split": 4, "CUDA_Host": 8, "CPU": 16}
    assert bytes_on(buffers, [gpu(1)]) == 5
    assert bytes_on(buffers, [gpu(1), gpu(10)]) == 7
    assert bytes_on(buffers, []) == 0


def test_layer_sizes_of_a_file_and_names_of_its_parts(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", layers=3)
    sizes = dict(tensor_bytes(str(tmp_path / "m.gguf")))
    found = layer_bytes(str(tmp_path / "m.gguf"), 4)
    assert len(set(found[:3])) == 1
    assert found[3] == sizes["output.weight"] + sizes["output_norm.weight"]
    assert sum(found) == sum(sizes.values()) - sizes["token_embd.weight"]
    assert list(split_files("/a/m-00002-of-00003.gguf")) == [f"/a/m-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    assert list(tensor_bytes(str(tmp_path / "none.gguf"))) == []


def test_buffers_layers_and_cells_are_read_from_the_log() -> None:
    log = NativeLog()
    for line in (
        "load_tensors: offloaded 2/3 layers to GPU",
        "load_tensors:   CPU_Mapped model buffer size =     0.50 MiB",
        "load_tensors: RPC0[127.0.0.1:50952] model buffer size =     1.50 MiB",
        "llama_kv_cache:        CPU KV buffer size =     1.00 MiB",
        "llama_kv_cache:      CUDA0 KV buffer size =     2.00 MiB",
        "llama_kv_cache: size =    3.00 MiB (   512 cells,   2 layers,  1/1 seqs), K (f16):    1.50 MiB",
        "sched_reserve:      CUDA0 compute buffer size =     4.00 MiB",
    ):
        log._hear(2, f"{line}\n".encode(), None)
    assert (log.gpu_layers, log.layers, log.cell_bytes) == (2, 3, 3 * MIB)
    assert log.weights == {"CPU_Mapped": MIB // 2, "RPC0[127.0.0.1:50952]": 3 * MIB // 2}
    assert log.buffers == {"CPU": MIB, "CUDA0": 6 * MIB}
    log.begin()
    assert (log.weights, log.buffers, log.layers) == ({}, {}, 0)


def never(plan: object) -> Needs:
    raise AssertionError("without a GPU nothing need be asked")


@pytest.mark.skipif(bool(devices()), reason="this build of llama.cpp has a GPU")
def test_requested_gpu_layers_without_a_gpu_cause_a_notice() -> None:
    assert make_plan(LOAD, never).notices == []
    assert make_plan(load(gpu_layers=0), never).notices == []
    (told,) = make_plan(load(gpu_layers=5), never).notices
    assert (
        told == "m: `gpu_layers` is 5, but the model runs on the CPU: this build of llama-cpp-python has no GPU support"
    )
    with pytest.raises(LoadError, match="finds no device cuda:7") as caught:
        make_plan(load(device="cuda:7"), never)
    assert caught.value.hint == "Available: cpu. This build of llama-cpp-python has no GPU support."


# ---- on a GPU -------------------------------------------------------------------------------------------------------

on_a_gpu = pytest.mark.skipif(not devices(), reason="no GPU that this build of llama-cpp-python can use")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("offload") / "large.gguf"
    write(path, layers=12, dim=256)
    return path


def loaded(path: Path, **fields: Any) -> Any:
    plain = {"path": str(path), "context": 512, "slots": 2, "retained": 2}
    return Gguf(load(**plain | fields)).loaded


@on_a_gpu
def test_gpu_memory_grows_with_the_number_of_offloaded_layers(large: Path) -> None:
    every, half, none = (loaded(large, gpu_layers=layers) for layers in (-1, 6, 0))
    assert [found.gpu_layers for found in (every, half, none)] == [13, 6, 0]
    assert every.gpu_bytes > half.gpu_bytes > none.gpu_bytes == 0
    assert {found.layers for found in (every, half, none)} == {13}
    assert every.devices == [devices()[0].name, "CPU"]
    assert none.devices == ["CPU"]


@on_a_gpu
def test_too_small_gpu_gets_the_layers_that_fit(large: Path) -> None:
    device = devices()[0]
    all_of_it = loaded(large).gpu_bytes
    found = loaded(large, gpu_memory_bytes=device.total - devices()[0].free + all_of_it // 2)
    assert 0 < found.gpu_layers < 13
    assert 0 < found.gpu_bytes <= all_of_it // 2
    assert "gpu_layers 13 ->" in found.notices[0]


@on_a_gpu
def test_predicted_gpu_memory_matches_the_memory_used(large: Path) -> None:
    sizes = layer_bytes(str(large), 13)
    found = Gguf(load(path=str(large), context=512, slots=2, retained=2))
    cells = cell_bytes(found._model, "f16") * Shape(2, 512, 2).cells
    work = found.loaded.gpu_bytes - sum(sizes) - cells
    assert 0 <= work < 64 * MIB
    assert KV_TYPES["f16"][1] == 2
