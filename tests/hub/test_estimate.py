"""A model's memory as estimated from its header, compared with what the library uses; and stored measurements."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from llmctld.engine.llama.model import Gguf
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.header import Header
from llmctld.models.memory import folder
from llmctld.models.memory.attention_windows import window
from llmctld.models.memory.estimate import Estimate, Estimates
from safetensors.numpy import load_file, save_file

from llmctl import wire
from llmctl.config import ModelEntry, ModelSettings
from tests import odd_gguf, tiny_bert, tiny_gguf
from tests.engine.driver import llama

NEAR = 0.15
"""The share by which an estimate may be wrong: issue 5."""


def a_catalog(folder: Path, target: object, **settings: str) -> tuple[Catalog, ModelEntry]:
    models = folder / "catalog"
    models.mkdir(exist_ok=True)
    catalog = Catalog(models, {})
    return catalog, catalog.add("m", str(target), [], settings, force=True)


def told(folder: Path, target: object, **settings: str) -> Estimate:
    catalog, entry = a_catalog(folder, target, **settings)
    return Estimates(catalog, folder / "measured.json").of(entry)


def taken(path: Path, settings: dict[str, Any]) -> int:
    wanted = {"context": None, "slots": 4, "retained": 4, "batch": 512} | settings
    return Gguf(llama(path, **wanted)).loaded.memory_bytes


def wide(path: Path) -> None:
    tiny_gguf.write(path, dim=256, layers=4, context=4096)


def far(path: Path) -> None:
    odd_gguf.sliding(path, context=4096, window=64)


WRITERS: list[Callable[[Path], None]] = [tiny_gguf.write, wide, odd_gguf.sliding, far, odd_gguf.recurrent]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"context": 300, "slots": 1, "retained": 0},
    {"context": 2048, "slots": 2, "retained": 1},
    {"context": 1024, "kv_type": "q8_0"},
    {"context": 1024, "kv_type": "f32"},
    {"batch": 64},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("write", WRITERS)
def test_estimate_is_close_to_the_librarys_memory_use(
    tmp_path: Path, write: Callable[[Path], None], settings: dict[str, Any]
) -> None:
    path = tmp_path / "m.gguf"
    write(path)
    estimate = told(tmp_path, path, **{key: str(value) for key, value in settings.items()})
    assert abs(estimate.total / taken(path, settings) - 1) <= NEAR, estimate


def test_sliding_window_layers_are_estimated_apart_from_full_attention_layers(tmp_path: Path) -> None:
    """Two layers, one with a window of 64 tokens; 64 values per cell."""
    path = tmp_path / "m.gguf"
    far(path)
    assert told(tmp_path, path).kv == 8 * (4096 + 768) * 64 * 2
    assert told(tmp_path, path, context="512", batch="64").kv == 8 * (512 + 256) * 64 * 2


@pytest.mark.parametrize(
    ("kind", "rule", "whole"),
    [
        ("gemma3", None, [5, 11]),
        ("cohere2moe", None, [0, 4, 8]),
        ("gemma3", 3, [2, 5, 8, 11]),
        ("any", [True] * 6 + [False] * 6, [6, 7, 8, 9, 10, 11]),
        ("any", None, list(range(12))),
        ("phi3", None, list(range(12))),
    ],
)
def test_sliding_window_layers_are_found_from_the_file_or_architecture(kind: str, rule: Any, whole: list[int]) -> None:
    name = f"{kind}.attention.sliding_window"
    values: dict[str, Any] = {"general.architecture": kind, name: 512}
    lists = {f"{name}_pattern": tuple(rule)} if isinstance(rule, list) else {}
    if isinstance(rule, int):
        values[f"{name}_pattern"] = rule
    tokens, near = window(Header(values, lists, {}, {}, None), 12)
    assert [layer for layer, looks in enumerate(near) if not looks] == whole
    assert tokens == (512 if len(whole) < 12 else 0)


def test_file_with_a_damaged_header_is_estimated_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    assert told(tmp_path, path) == Estimate(1004, 0, 0)


@pytest.mark.parametrize("value", [0, 1, 2**32 - 1, 2.0**127, float("nan")], ids=str)
@pytest.mark.parametrize(
    "key", ["block_count", "embedding_length", "attention.head_count", "context_length", "ssm.inner_size"]
)
def test_implausible_header_values_never_raise(tmp_path: Path, key: str, value: float) -> None:
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "llama")
    (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(f"llama.{key}", value)
    writer.add_tensor_info("token_embd.weight", (), np.dtype(np.float32), 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("ab") as file:
        file.write(bytes(64))  # the tensor, wherever it begins
    assert told(tmp_path, path).total >= 0


def test_an_estimate_that_no_message_could_carry_is_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = GGUFWriter(path, "llama")
    for key in ("block_count", "attention.head_count", "attention.head_count_kv"):
        writer.add_uint32(f"llama.{key}", 4000)
    for key in ("embedding_length", "attention.key_length", "context_length"):
        writer.add_uint64(f"llama.{key}", 2**63)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    catalog, entry = a_catalog(tmp_path, path)
    found = Estimates(catalog, tmp_path / "measured.json").tell(entry, ModelSettings())
    assert found.total_bytes == path.stat().st_size
    wire.encode(wire.Done(result=found))


def test_models_without_a_file_are_estimated_as_zero(tmp_path: Path) -> None:
    assert told(tmp_path, "echo").total == 0
    path = tmp_path / "m.gguf"
    tiny_gguf.write(path)
    catalog, entry = a_catalog(tmp_path, path)
    path.unlink()
    assert Estimates(catalog, tmp_path / "measured.json").of(entry).total == 0


def test_embedding_folder_is_estimated_by_its_weights(tmp_path: Path) -> None:
    path = tiny_bert.write(tmp_path / "bert")
    tensors = load_file(path / "model.safetensors").values()
    assert told(tmp_path, path).total == sum(tensor.size * 4 for tensor in tensors)


@pytest.mark.parametrize("settings", [{}, {"batch": 128, "slots": 4}, {"batch": 1024}], ids=str)
def test_gguf_embedding_model_estimate_follows_its_batch(tmp_path: Path, settings: dict[str, Any]) -> None:
    from llmctld.engine.embed.convert import convert
    from llmctld.engine.embed.gguf import GgufEmbedder

    path = tmp_path / "bert.gguf"
    convert(tiny_bert.write(tmp_path / "bert"), path)
    estimate = told(tmp_path, path, **{key: str(value) for key, value in settings.items()})
    load = llama(path, **({"kind": "embedding", "context": None, "slots": 32, "batch": 512} | settings))
    assert abs(estimate.total / GgufEmbedder(load).loaded.memory_bytes - 1) <= NEAR, estimate


def a_transformers_folder(folder: Path, **config: object) -> Path:
    folder.mkdir()
    save_file({"a": np.zeros((10, 20), np.float16), "b": np.zeros(8, np.int64)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_size": 64, "max_position_embeddings": 512, **config,
    }))  # fmt: skip
    return folder


def test_transformers_folder_is_estimated_in_float32_with_pages_per_stream(tmp_path: Path) -> None:
    path = a_transformers_folder(tmp_path / "t")
    cells, kept, read = 8 * 512, 2 * 2 * 2 * 16, 2 * (4 + 2) * 16
    wanted = Estimate(10 * 20 * 4 + 8 * 8, cells * kept * 4, (cells * read + 512 * (cells + 512)) * 4)
    assert folder.text(path, ModelSettings()) == wanted
    half = folder.text(path, ModelSettings(context=100, slots=1, retained=0, batch=64))
    assert (half.kv, half.compute) == (256 * kept * 4, (256 * read + 64 * (256 + 64)) * 4)


def test_gpt2_style_config_names_give_the_same_estimate(tmp_path: Path) -> None:
    plain = a_transformers_folder(tmp_path / "t", num_key_value_heads=4)
    older = a_transformers_folder(tmp_path / "o")
    names = {"n_layer": 2, "n_head": 4, "n_embd": 64, "n_positions": 512, "architectures": ["GPT2LMHeadModel"]}
    (older / "config.json").write_text(json.dumps(names))
    assert folder.text(older, ModelSettings()) == folder.text(plain, ModelSettings())


def test_duplicate_weight_files_are_counted_once(tmp_path: Path) -> None:
    path = a_transformers_folder(tmp_path / "t")
    wanted = folder.text(path, ModelSettings())
    shutil.copy(path / "model.safetensors", path / "consolidated.safetensors")
    assert folder.text(path, ModelSettings()) == wanted
    (path / "model.safetensors").unlink()
    for number, name in ((1, "a"), (2, "b")):
        tensor = load_file(path / "consolidated.safetensors")[name]
        save_file({name: tensor}, path / f"model-0000{number}-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert folder.text(path, ModelSettings()) == wanted


@pytest.mark.parametrize("config", ["nonsense", '{"num_attention_heads": "many"}', "[]"])
def test_folder_with_an_invalid_config_is_estimated_by_its_weights(tmp_path: Path, config: str) -> None:
    path = a_transformers_folder(tmp_path / "t")
    (path / "config.json").write_text(config)
    catalog, _ = a_catalog(tmp_path, "echo")
    entry = ModelEntry(name="t", target=str(path), backend="transformers")
    size = (path / "model.safetensors").stat().st_size
    assert Estimates(catalog, tmp_path / "measured.json").of(entry) == Estimate(size, 0, 0)


def test_a_pipe_in_place_of_weights_is_not_waited_for(tmp_path: Path) -> None:
    path = a_transformers_folder(tmp_path / "t")
    (path / "model.safetensors").unlink()
    os.mkfifo(path / "model.safetensors")
    with pytest.raises(ValueError, match="not a regular file"):
        folder.text(path, ModelSettings())


def test_draft_model_is_included_in_the_estimate(tmp_path: Path) -> None:
    path, small = tmp_path / "m.gguf", tmp_path / "small.gguf"
    tiny_gguf.write(path, layers=3)
    tiny_gguf.write(small, layers=1)
    alone, both = told(tmp_path, path), told(tmp_path, path, draft=str(small))
    assert both == Estimate(*(one + other for one, other in zip(alone, told(tmp_path, small), strict=True)))
    assert told(tmp_path, path, draft=str(small), speculation="off").weights == alone.weights


def test_measurements_are_kept_until_the_file_or_a_setting_changes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    tiny_gguf.write(path)
    catalog, entry = a_catalog(tmp_path, path)
    estimates = Estimates(catalog, tmp_path / "measured.json")
    assert estimates.measured(entry) is None
    estimates.note(entry, 12345)
    again = Estimates(catalog, tmp_path / "measured.json")
    assert (estimates.measured(entry), again.measured(entry)) == (12345, 12345)
    other = Catalog(tmp_path / "catalog", {"m": ModelSettings(context=256)})
    assert Estimates(other, tmp_path / "measured.json").measured(entry) is None
    coloured = Catalog(tmp_path / "catalog", {"m": ModelSettings(temperature=0.5)})
    assert Estimates(coloured, tmp_path / "measured.json").measured(entry) == 12345
    tiny_gguf.write(path, seed=2, layers=3)
    assert again.measured(entry) is None


def test_unreadable_measurements_are_started_anew(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    file.write_text("nonsense")
    catalog, entry = a_catalog(tmp_path, "echo")
    estimates = Estimates(catalog, file)
    estimates.note(entry, 5)
    assert Estimates(catalog, file).measured(entry) == 5
