"""What a file or folder contains: what is usable, what is damaged, and what is something else."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.header import read_whole_header
from llmctld.models.catalogue.target import check_whole
from llmctld.models.found import file_contents
from llmctld.models.found.file_contents import FileContents
from llmctld.models.memory.estimate import Estimates
from llmctld.models.running.memory_budget import MemoryBudget

from llmctl import wire
from llmctl.config import Limits, Size
from llmctl.errors import ModelUnavailable
from llmctl.wire import FileContent
from tests import kinds_gguf, tiny_gguf
from tests.quantised import quantise
from tests.stores import folder_model, gguf, write


def contents(tmp_path: Path, memory: int = 2**40) -> FileContents:
    catalog = Catalog(tmp_path / "models", {})
    estimates = Estimates(catalog, tmp_path / "measured.json")
    return FileContents(MemoryBudget(catalog, estimates, Limits(memory_bytes=Size(memory), gpu_memory_bytes=Size(0))))


def of(tmp_path: Path, path: Path) -> FileContent:
    return contents(tmp_path).of(path)


def test_a_quantised_file_is_described_by_its_header(tmp_path: Path) -> None:
    path = quantise(kinds_gguf.write(tmp_path / "f.gguf", "qwen3"), tmp_path / "m.gguf", "Q4_K_M")
    found = of(tmp_path, path)
    told = (found.state, found.kind, found.backend, found.architecture, found.quantization, found.context)
    assert told == ("usable", "text", "llama.cpp", "qwen3", "Q4_K_M", kinds_gguf.CONTEXT)
    assert found.size_bytes == path.stat().st_size < found.total_bytes
    assert found.fits


def test_an_embedding_model_is_of_that_kind(tmp_path: Path) -> None:
    found = of(tmp_path, kinds_gguf.write(tmp_path / "m.gguf", "bert"))
    assert (found.kind, found.architecture, found.quantization) == ("embedding", "bert", "F32")


def test_the_parts_of_a_split_file_count_together(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "whole.gguf", seed=7)
    tiny_gguf.write(tmp_path / "big.gguf", seed=7, split=8)
    first, second, *_ = sorted(tmp_path.glob("big-*"))
    whole, found = of(tmp_path, tmp_path / "whole.gguf"), of(tmp_path, first)
    assert found.total_bytes == whole.total_bytes
    assert found.size_bytes == sum(part.stat().st_size for part in tmp_path.glob("big-*"))
    second.unlink()
    assert (of(tmp_path, first).state, f"{second.name} is missing" in of(tmp_path, first).reason) == ("damaged", True)


def test_an_unknown_architecture_is_listed_under_its_name(tmp_path: Path) -> None:
    found = of(tmp_path, write(tmp_path / "m.gguf", gguf("zebra9")))
    assert (found.state, found.architecture, found.quantization) == ("usable", "zebra9", "Q4_K_M")


@pytest.mark.parametrize(
    ("content", "state", "words"),
    [
        (b"", "damaged", "is not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "damaged", "git-lfs pointer"),
        (gguf()[:60], "damaged", "the download is incomplete"),
        (b"GGUF" + b"\xff" * 60, "damaged", "GGUF version"),
        (gguf("clip"), "other", "not a model by itself: clip"),
        (gguf(type="adapter"), "other", "not a model by itself: adapter"),
        (gguf("flux", tokenizer=""), "other", "flux is not a language model"),
        (gguf(weights=False), "other", "a vocabulary and no weights"),
    ],
)
def test_what_is_damaged_is_told_from_what_is_no_model(tmp_path: Path, content: bytes, state: str, words: str) -> None:
    found = of(tmp_path, write(tmp_path / "m.gguf", content))
    assert (found.state, words in found.reason) == (state, True), found


def test_a_model_with_an_image_encoder_in_its_file_is_for_another_engine(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "gemma3")
    writer.add_tokenizer_model("gpt2")
    writer.add_tensor("blk.0.attn_q.weight", np.ones((32, 32), np.float32))
    writer.add_tensor("v.blk.0.attn_q.weight", np.ones((32, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = of(tmp_path, tmp_path / "m.gguf")
    assert (found.state, "image or audio encoder" in found.reason) == ("unsupported", True), found
    with pytest.raises(ModelUnavailable, match="made for ollama"):
        check_whole(tmp_path / "m.gguf")


def test_a_file_that_ends_before_its_tensors_is_damaged(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[:-100])
    found = of(tmp_path, tmp_path / "m.gguf")
    assert (found.state, f"it has {len(whole) - 100} bytes" in found.reason) == ("damaged", True), found


def test_a_folder_is_described_by_its_config(tmp_path: Path) -> None:
    found = of(tmp_path, folder_model(tmp_path / "m"))
    told = (found.state, found.kind, found.backend, found.architecture, found.quantization, found.context)
    assert told == ("usable", "text", "transformers", "llama", "bfloat16", 256)
    assert found.size_bytes == (tmp_path / "m" / "model.safetensors").stat().st_size


LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


@pytest.mark.parametrize(
    ("config", "state", "words"),
    [
        ({"architectures": ["WhisperForConditionalGeneration"]}, "other", "Whisper"),
        (LLAMA | {"quantization": {"group_size": 64, "bits": 4}}, "unsupported", "MLX"),
        ({"architectures": 7}, "other", "cannot be read"),
    ],
)
def test_a_folder_of_another_kind_is_no_model(tmp_path: Path, config: Any, state: str, words: str) -> None:
    found = of(tmp_path, folder_model(tmp_path / "m", config))
    assert (found.state, words in found.reason) == (state, True), found


def test_a_folder_without_one_of_its_weight_files_is_damaged(tmp_path: Path) -> None:
    folder = folder_model(tmp_path / "m")
    shutil.move(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    write(folder / "model.safetensors.index.json", json.dumps({"weight_map": names}))
    found = of(tmp_path, folder)
    assert (found.state, "model-00002-of-00002.safetensors is missing" in found.reason) == ("damaged", True), found


def test_a_quantised_folder_has_the_name_of_its_method(tmp_path: Path) -> None:
    found = of(tmp_path, folder_model(tmp_path / "m", LLAMA | {"quantization_config": {"quant_method": "awq"}}))
    assert found.quantization == "awq"


def test_what_fits_is_decided_by_the_weights(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "m.gguf")
    size = (tmp_path / "m.gguf").stat().st_size
    assert contents(tmp_path, size).of(tmp_path / "m.gguf").fits
    assert not contents(tmp_path, size // 2).of(tmp_path / "m.gguf").fits


def test_a_header_is_read_once_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counting(path: Path) -> Any:
        read.append(path)
        return read_whole_header(path)

    monkeypatch.setattr(file_contents, "read_whole_header", counting)
    known, path = contents(tmp_path), write(tmp_path / "m.gguf", gguf())
    known.describe([str(path), str(path)])
    assert len(read) == 1
    write(path, gguf("qwen3", file_type=7))
    assert known.of(path).quantization == "Q8_0"
    assert len(read) == 2
    path.unlink()
    assert known.of(path).state == "damaged"


@pytest.mark.parametrize("value", [float("inf"), 1e300, "many", 2**64 - 1])
def test_a_context_that_is_none_is_described_or_named(tmp_path: Path, value: float | str) -> None:
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    kinds = {str: writer.add_string, int: writer.add_uint64, float: writer.add_float64}
    kinds[type(value)]("llama.context_length", value)
    writer.add_tensor("t", np.zeros(1, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    wire.encode(wire.Done(result=wire.FilesDescribed(files=[of(tmp_path, path)])))


@pytest.mark.parametrize(
    "config", ['{"num_hidden_layers": "many"}', '{"hidden_size": [1]}', '{"num_attention_heads": 1e308}', "[" * 50_000]
)
def test_a_folder_with_an_odd_description_is_named(tmp_path: Path, config: str) -> None:
    path = folder_model(tmp_path / "m")
    said = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(config if config.startswith("[") else json.dumps(said | json.loads(config)))
    found = of(tmp_path, path)
    assert str(path) in f"{found.path} {found.reason}"
    wire.encode(wire.Done(result=wire.FilesDescribed(files=[found])))
