"""The list of suggested models: its form, that `pull` finds each of its files, and which of them is the best on which machine."""

import datetime
import re
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from llmctld.models.catalogue.header import Header, Value
from llmctld.models.memory.layout import text
from llmctld.models.pull.choose import RepoFile, choose

from llmctl import suggestions
from llmctl.config import ModelSettings
from llmctl.pages import repo_of
from llmctl.suggestions import PURPOSES, Bandwidth, Room, Suggestion, best_fit, ranked, suggested, tokens_per_second

GIB = 2**30
LICENCES = ("apache-2.0", "mit", "gemma", "llama3.2")
BITS = {"Q4_K_M": (4.5, 7.0), "Q8_0": (8.2, 9.0)}
"""Quantisation -> bits per weight; small models have more, because some of their tensors stay in 8 bits."""
MODELS = suggested().models
each = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


def named(name: str) -> Suggestion:
    return next(model for model in MODELS if model.name == name)


def test_about_a_dozen_models_for_every_purpose_with_a_date() -> None:
    assert 10 <= len(MODELS) <= 16
    assert datetime.date(2026, 11, 1) <= suggested().dated <= datetime.date.today()
    assert {purpose for model in MODELS for purpose in model.good_at} == set(PURPOSES)
    assert len({model.target for model in MODELS}) == len({model.name for model in MODELS}) == len(MODELS)


@each
def test_form_of_each_model(model: Suggestion) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+-GGUF", model.repo)
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert model.licence in LICENCES
    assert 0.3 <= model.parameters < 15
    assert model.active is None or 0 < model.active < model.parameters
    assert 2048 <= model.context <= 2**20
    assert set(model.good_at) <= set(PURPOSES)
    assert model.note.endswith(".")
    assert "public projects" in model.source, "each fact names where it was found"


@each
def test_file_name_names_the_quantisation(model: Suggestion) -> None:
    assert model.file.lower().endswith(f"-{model.quantization.lower()}.gguf")


@each
def test_bytes_are_plausible_for_parameters_and_bits(model: Suggestion) -> None:
    least, most = BITS[model.quantization]
    assert least <= model.bytes * 8 / (model.parameters * 1e9) <= most
    assert model.kv_bytes < 2 * GIB


@each
def test_pull_finds_the_file_by_the_line_that_is_printed(model: Suggestion) -> None:
    wanted = repo_of(model.command.removeprefix("llmctl pull "))
    stem = model.file[: -len(model.quantization) - len(".gguf")]
    others = [f"{stem}{kind}.gguf" for kind in ("Q4_0", "Q5_K_M", "Q6_K", "BF16", "Q4_K_S", "UD-Q4_K_XL")]
    files = [RepoFile(name, 1, "") for name in (*others, "mmproj-F16.gguf", "README.md", model.file)]
    chosen = choose(wanted.name, files, wanted.file, GIB)
    assert (wanted.name, chosen.target) == (model.repo, model.file)


class Shape(NamedTuple):
    """What determines a model's KV memory. `window`: of the layers that look back only so far, 5 of 6 in such a model."""

    architecture: str
    layers: int
    heads: int
    key_heads: int
    head: int
    width: int
    forward: int
    words: int
    window: int = 0


SHAPES = {
    "Qwen3 14B": Shape("qwen3", 40, 40, 8, 128, 5120, 17408, 151936),
    "Qwen2.5-Coder 7B": Shape("qwen2", 28, 28, 4, 128, 3584, 18944, 152064),
    "Qwen3 8B": Shape("qwen3", 36, 32, 8, 128, 4096, 12288, 151936),
    "Qwen3 4B Instruct 2507": Shape("qwen3", 36, 32, 8, 128, 2560, 9728, 151936),
    "Gemma 3 4B": Shape("gemma3", 34, 8, 4, 256, 2560, 10240, 262144, 1024),
    "Llama 3.2 3B": Shape("llama", 28, 24, 8, 128, 3072, 8192, 128256),
    "Qwen3 1.7B": Shape("qwen3", 28, 16, 8, 128, 2048, 6144, 151936),
    "Qwen2.5-Coder 1.5B": Shape("qwen2", 28, 12, 2, 128, 1536, 8960, 151936),
    "Gemma 3 1B": Shape("gemma3", 26, 4, 1, 256, 1152, 6912, 262144, 512),
    "Qwen3 0.6B": Shape("qwen3", 28, 16, 8, 128, 1024, 3072, 151936),
}
"""Models of the list whose layers are all alike, as their configurations describe them."""


@pytest.mark.parametrize("name", SHAPES)
def test_memory_is_what_the_hub_estimates_for_one_request(name: str) -> None:
    model, shape = named(name), SHAPES[name]
    numbers = {
        "block_count": shape.layers, "embedding_length": shape.width, "feed_forward_length": shape.forward,
        "attention.head_count": shape.heads, "attention.head_count_kv": shape.key_heads, "context_length": model.context,
        "attention.key_length": shape.head, "attention.value_length": shape.head,
    } | ({"attention.sliding_window": shape.window} if shape.window else {})  # fmt: skip
    values: dict[str, Value] = {f"{shape.architecture}.{key}": value for key, value in numbers.items()}
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (shape.width, shape.words), "blk.0.ffn_gate.weight": (shape.width, shape.forward),
        "blk.0.ffn_up.weight": (shape.width, shape.forward),
    }  # fmt: skip
    header = Header(values | {"general.architecture": shape.architecture}, {}, {}, shapes, model.bytes)
    estimate = text(header, ModelSettings(slots=1, retained=0))
    assert estimate.kv == model.kv_bytes
    assert estimate.total <= model.needs_bytes < estimate.total + suggestions.COMPUTE_BYTES


@pytest.mark.parametrize("name", SHAPES)
def test_rows_of_all_matrices_follow_the_rule(name: str) -> None:
    model, shape = named(name), SHAPES[name]
    heads = shape.head * (shape.heads + 2 * shape.key_heads)
    rows = shape.layers * (heads + 2 * shape.forward + 2 * shape.width) + shape.words
    assert 0.8 < model.token_rows / rows < 1.3


def test_an_unknown_field_of_the_list_is_refused() -> None:
    line = msgspec.to_builtins(MODELS[0]) | {"colour": "red"}
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.convert(line, Suggestion)


def test_models_that_fit_come_first_and_the_best_of_them_at_the_top() -> None:
    order = ranked(Room(8 * GIB, host_rate=20e9))
    assert [it.fits for it in order] == sorted((it.fits for it in order), reverse=True)
    assert [it.fits for it in ranked(Room(64 * GIB, host_rate=20e9))] == [True] * len(MODELS)
    assert {(it.fits, it.rate) for it in ranked(Room(0, host_rate=20e9))} == {(False, None)}


def test_a_model_that_is_too_slow_to_read_along_comes_after_the_faster_ones() -> None:
    slow, fast = (ranked(Room(64 * GIB, host_rate=rate), "chat") for rate in (20e9, 500e9))
    assert fast[0].model == MODELS[0]
    assert slow[0].model.bytes < fast[0].model.bytes
    rates = [it.rate or 0 for it in slow]
    quick = [rate >= suggestions.READABLE for rate in rates]
    assert quick == sorted(quick, reverse=True)
    assert rates[quick.count(True) :] == sorted(rates[quick.count(True) :], reverse=True)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_purpose_leaves_the_models_that_are_good_at_it(purpose: str) -> None:
    order = ranked(Room(64 * GIB), purpose)
    assert {it.model.name for it in order} == {model.name for model in MODELS if purpose in model.good_at}


def test_tokens_per_second_come_from_the_bytes_and_rows_of_active_parameters() -> None:
    room = Room(64 * GIB, host_rate=100e9)
    dense, experts = named("Qwen3 8B"), named("Granite 4.0 H Tiny")
    assert tokens_per_second(room, dense) == pytest.approx(suggestions.EFFICIENCY * 100e9 / dense.bytes)
    assert tokens_per_second(room, experts) == pytest.approx(suggestions.EFFICIENCY * 100e9 / (experts.bytes / 7))
    slow_rows = room._replace(row_s=10e-9)
    for model, parameters in ((dense, 8.2), (experts, 1.0)):
        milliseconds = (model.token_bytes or 0) / 100e6 + 6.4 * parameters**0.5
        expected = suggestions.EFFICIENCY * 1e3 / milliseconds
        assert tokens_per_second(slow_rows, model) == pytest.approx(expected)
    assert tokens_per_second(room, named("EmbeddingGemma 300M")) is None
    assert tokens_per_second(Room(64 * GIB), dense) is None


def test_a_gpu_holds_as_much_as_fits() -> None:
    dense = named("Qwen3 8B")
    whole, half, none = (
        tokens_per_second(Room(64 * GIB, gpu, 50e9, 500e9), dense)
        for gpu in (dense.needs_bytes, dense.needs_bytes // 2, 0)
    )
    assert whole is not None
    assert half is not None
    assert none is not None
    assert whole / none == pytest.approx(10 * suggestions.GPU_EFFICIENCY / suggestions.EFFICIENCY)
    assert 1 / half == pytest.approx((1 / whole + 1 / none) / 2, rel=1e-6)


@pytest.mark.parametrize(("memory", "name"), [("16G", "Qwen3 4B Instruct 2507"), ("1536M", "Gemma 3 1B")])
def test_best_fit_goes_by_the_limits_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str, name: str
) -> None:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path))
    monkeypatch.setenv("LLMCTL_LIMITS__MEMORY_BYTES", memory)
    assert best_fit().name == name
    assert f"`{named(name).command}`" in suggestions.no_model_hint()
    assert not list(tmp_path.iterdir()), "it creates nothing"


def test_a_machine_on_which_nothing_fits_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path))
    monkeypatch.setenv("LLMCTL_LIMITS__MEMORY_BYTES", "10M")
    assert best_fit().name == "Gemma 3 1B"
    assert "none fits in the memory for models" in suggestions.no_model_hint()


def test_best_fit_knows_a_bandwidth_that_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path))
    monkeypatch.setenv("LLMCTL_LIMITS__MEMORY_BYTES", "64G")
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "bandwidth.json"
    file.write_bytes(msgspec.json.encode(Bandwidth(datetime.date(2026, 11, 30), "k", 500e9)))
    assert best_fit() == MODELS[0]
    for damaged in ("{", '{"measured": "2026-11-30", "key": "k", "host": -1.0}'):
        file.write_text(damaged)
        assert best_fit().name == "Qwen3 4B Instruct 2507"


def test_a_broken_configuration_changes_nothing_but_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path))
    monkeypatch.delenv("LLMCTL_LIMITS__MEMORY_BYTES", raising=False)
    (tmp_path / "config.toml").write_text("[limits]\nmemory_byte = 5")
    assert best_fit() in MODELS


def test_every_download_that_the_readme_names_is_in_the_list() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    named_there = re.findall(r"llmctl pull (\S+/\S+)", readme)
    assert named_there
    assert set(named_there) <= {model.target for model in MODELS}
