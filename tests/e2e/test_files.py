"""Real-world model files by the installed command: quantised, older, and slightly damaged ones."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kinds_gguf, odd_gguf, tiny_llama
from tests.e2e.house import House, until
from tests.e2e.house import house as a_house
from tests.quantised import quantise
from tests.slow_twin import Twin, sure

ASK = ("--raw", "--no-cache", "--temperature", "0", "--max-tokens", "12", "--json", "--no-stream")


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with a_house() as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.write(tmp_path_factory.mktemp("llama") / "tiny", layers=1)


def test_a_quantised_file_is_added_estimated_and_answers_like_llama_cpp(home: House, tmp_path: Path) -> None:
    path = quantise(kinds_gguf.write(tmp_path / "f.gguf", "llama"), tmp_path / "m.gguf", "Q4_K_M")
    home.ok("models", "add", "q", path, "--set=slots=2", "--set=threads=1")
    told = home.ok("models", "estimate", "q", "--json").last
    twin = Twin(path)
    meant = dict(pair for pair, _ in zip(sure(twin, 12), range(2), strict=False))
    twin.close()
    answers = [home.ok("ask", prompt, "-m", "q", *ASK).last["text"] for prompt in meant]
    with home.held("q"):
        commands = [home.spawn("ask", prompt, "-m", "q", *ASK) for prompt in meant]
        until(lambda: home.status()["requests_in_flight"] == len(meant))
    assert answers == list(meant.values()) == [command.end().last["text"] for command in commands]
    line = home.ps("q")
    assert (line["backend"], line["slots"], line["context"]) == ("llama.cpp", 2, 512)
    measured = home.ok("models", "estimate", "q", "--json").last["measured_bytes"]
    assert abs(told["total_bytes"] / measured - 1) <= 0.15, (told, measured)


def test_a_prompt_whose_logits_are_nan_fails_without_affecting_others(home: House, tmp_path: Path) -> None:
    odd_gguf.poisoned(tmp_path / "m.gguf")
    home.ok("models", "add", "d", tmp_path / "m.gguf", "--set=slots=2", "--set=threads=1")
    meant = home.ok("ask", "eee", "-m", "d", *ASK).last["text"]
    with home.held("d"):
        good, bad = (home.spawn("ask", prompt, "-m", "d", *ASK) for prompt in ("eee", "zzz"))
        until(lambda: home.status()["requests_in_flight"] == 2)
    outcome = bad.end()
    assert (outcome.status, outcome.out, outcome.error["code"]) == (9, "", "engine_failed")
    assert "NaN" in outcome.error["message"]
    assert good.end().last["text"] == meant


def test_a_context_beyond_the_position_table_is_refused(home: House, tmp_path: Path) -> None:
    path = kinds_gguf.write(tmp_path / "m.gguf", "gpt2")
    home.ok("models", "add", "p", path, "--set=context=1024", "--set=threads=1")
    refused = home.run("ask", "e" * 600, "-m", "p", *ASK)
    assert (refused.status, refused.out) == (4, "")
    assert f"`context` is 1024, but {path} has only 512 positions" in refused.error["message"]
    assert refused.error["hint"] == "Set a smaller `context`."


def test_a_quantised_embedding_model_computes_vectors(home: House, tmp_path: Path) -> None:
    path = quantise(kinds_gguf.write(tmp_path / "f.gguf", "bert"), tmp_path / "m.gguf", "Q4_K_M")
    home.ok("models", "add", "v", path, "--set=threads=1")
    (one, other) = home.ok("embed", "-m", "v", "the cat sleeps", "the old bridge").lines
    assert len(one["embedding"]) == len(other["embedding"]) == kinds_gguf.DIM
    assert one["embedding"] != other["embedding"]
    refused = home.run("ask", "hi", "-m", "v")
    assert (refused.status, "embed" in refused.err) == (5, True), refused


def test_weights_stored_twice_in_a_folder_are_counted_once(home: House, folder: Path, tmp_path: Path) -> None:
    alone = home.ok("models", "estimate", folder, "--json").last
    twice = shutil.copytree(folder, tmp_path / "twice")
    shutil.copy(twice / "model.safetensors", twice / "consolidated.safetensors")
    assert home.ok("models", "estimate", twice, "--json").last == alone


def test_a_token_missing_in_the_weights_fails_only_its_own_request(home: House, folder: Path, tmp_path: Path) -> None:
    """The tokenizer has a token without an embedding: a prompt with it fails, other requests do not."""
    from tokenizers import Tokenizer

    place = shutil.copytree(folder, tmp_path / "m")
    config = json.loads((place / "config.json").read_text())
    del config["architectures"]
    (place / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    tokenizer.add_tokens(["<beyond>"])
    tokenizer.save(str(place / "tokenizer.json"))
    home.ok("models", "add", "t", place, "--set=threads=1", "--set=slots=4")
    meant = home.ok("ask", "The sky", "-m", "t", *ASK).last["text"]
    with home.held("t"):
        good, bad = (home.spawn("ask", prompt, "-m", "t", *ASK) for prompt in ("The sky", "say <beyond>"))
        until(lambda: home.status()["requests_in_flight"] == 2)
    outcome = bad.end()
    assert (outcome.status, outcome.out) == (5, "")
    assert outcome.error["message"] == (
        "the prompt contains the token '<beyond>' (id 400), but this model knows only the ids 0 to 399"
    )
    assert good.end().last["text"] == meant


def test_an_original_gpt2_folder_is_added_and_answers(home: House, folder: Path, tmp_path: Path) -> None:
    """It has a position table, tied embeddings, transposed matrices and other names for its sizes."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=400, n_embd=64, n_layer=2, n_head=4, n_positions=256, initializer_range=0.2, bos_token_id=0, eos_token_id=1
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path / "gpt2" / name)
    home.ok("models", "add", "g", tmp_path / "gpt2", "--set=threads=1", "--set=slots=2")
    told = home.ok("models", "estimate", "g", "--json").last
    assert home.ok("ask", "The sky", "-m", "g", *ASK).last["usage"]["completion_tokens"] > 0
    line = home.ps("g")
    assert line["context"] == 256
    measured = home.ok("models", "estimate", "g", "--json").last["measured_bytes"]
    assert abs(told["total_bytes"] / measured - 1) <= 0.15, (told, measured)
    home.ok("models", "add", "longer", tmp_path / "gpt2", "--set=context=1000")
    refused = home.run("ask", "The sky", "-m", "longer", *ASK)
    assert (refused.status, "has only 256 positions" in refused.err) == (4, True), refused
