"""Which folders are models, and that each of their files belongs to the identity of the model."""

import json
from pathlib import Path
from typing import Any

import pytest
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.contents import Contents
from llmctld.models.catalogue.target import check_weights, type_of

from llmctl.config import ModelSettings
from llmctl.errors import InvalidRequest, ModelUnavailable

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def a_folder(path: Path, config: Any = LLAMA, **files: bytes) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    for name, content in ({"model.safetensors": b"weights", "tokenizer.json": b"{}"} | files).items():
        (path / name).write_bytes(content)
    return path


def test_a_folder_of_transformers_generates_text_and_one_of_sentence_transformers_embeds(tmp_path: Path) -> None:
    assert type_of(str(a_folder(tmp_path / "text"))) == ("transformers", "text")
    embedding = a_folder(tmp_path / "embedding", **{"modules.json": b"[]"})
    assert type_of(str(embedding)) == ("sentence-transformers", "embedding")


@pytest.mark.parametrize("config", [{"architectures": ["GPT2LMHeadModel"]}, {"model_type": "llama"}])
def test_older_architectures_and_a_model_type_alone_generate_text(tmp_path: Path, config: Any) -> None:
    assert type_of(str(a_folder(tmp_path / "text", config))) == ("transformers", "text")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architectures": ["BertModel"]}, "BertModel"), ({"architectures": ["T5ForConditionalGeneration"]}, "T5For"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "type t5"),
        ({}, "does not name"), ([1], "cannot be read"), ({"architectures": 7}, "cannot be read"),
    ],
)  # fmt: skip
def test_a_folder_of_another_kind_is_refused(tmp_path: Path, config: Any, words: str) -> None:
    with pytest.raises(ModelUnavailable, match=words) as caught:
        type_of(str(a_folder(tmp_path / "other", config)))
    assert caught.value.hint


def test_an_empty_folder_is_refused_naming_both_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"modules\.json and config\.json"):
        type_of(str(tmp_path))


def test_every_file_of_a_folder_belongs_to_its_identity(tmp_path: Path) -> None:
    folder, contents = a_folder(tmp_path / "m"), Contents()
    first = contents.of(str(folder))
    assert first == contents.of(str(folder)) == Contents().of(str(folder))
    seen = {first}
    for name in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"):
        (folder / name).write_bytes(b"another " + name.encode())
        seen.add(contents.of(str(folder)))
    assert len(seen) == 5


def test_pickled_weights_require_trust(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    check_weights(str(folder), False)
    (folder / "model.safetensors").unlink()
    check_weights(str(folder), True)
    with pytest.raises(ModelUnavailable, match="are a pickle") as caught:
        check_weights(str(folder), False)
    assert "trust=true" in caught.value.hint
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelUnavailable, match="no weights"):
        check_weights(str(folder), True)


def test_trust_set_in_the_configuration_applies_when_a_model_is_added(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (tmp_path / "models").mkdir()
    trusting = Catalog(tmp_path / "models", {"m": ModelSettings(trust=True)})
    with pytest.raises(ModelUnavailable, match="are a pickle"):
        trusting.add("other", str(folder), [], {}, False)
    entry = trusting.add("m", str(folder), [], {"dtype": "bfloat16"}, False)
    assert (entry.backend, entry.kind) == ("transformers", "text")
    assert "5.23" in trusting.identity(entry)
    with pytest.raises(InvalidRequest, match="quantization"):
        trusting.add("m", str(folder), [], {"quantization": "int3"}, True)
    with pytest.raises(InvalidRequest, match="supports no `draft`"):
        trusting.add("m", str(folder), [], {"draft": "x.gguf"}, True)
