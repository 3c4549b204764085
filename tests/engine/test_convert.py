"""A folder is converted to GGUF completely, or refused with a reason; weights with an unexpected hash are not converted."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from llmctld.engine.embed.convert import UnexpectedFolder, convert
from llmctld.models.catalogue.header import read_header

from tests import tiny_bert


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "llmctld.engine.embed.convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_converted_gguf_header_matches_the_folder(tmp_path: Path) -> None:
    folder = tiny_bert.write(tmp_path / "tiny", pooling="cls_token")
    convert(folder, tmp_path / "tiny.gguf")
    header = read_header(tmp_path / "tiny.gguf")
    assert header["general.architecture"] == "bert"
    assert header["bert.context_length"] == tiny_bert.POSITIONS
    assert header["bert.embedding_length"] == tiny_bert.HIDDEN
    assert header["bert.pooling_type"] == 2
    assert header["bert.attention.causal"] is False
    assert header["tokenizer.ggml.model"] == "bert"


def test_sha256_is_checked_before_conversion(tmp_path: Path) -> None:
    folder = tiny_bert.write(tmp_path / "tiny")
    right = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    wrong = run(folder, tmp_path / "out.gguf", "--sha256", "0" * 64)
    assert wrong.returncode == 1
    assert right in wrong.stderr
    assert "0" * 64 in wrong.stderr
    assert not (tmp_path / "out.gguf").exists()
    assert run(folder, tmp_path / "out.gguf", "--sha256", right).returncode == 0
    assert (tmp_path / "out.gguf").exists()


def test_models_that_gguf_cannot_represent_are_refused(tmp_path: Path) -> None:
    folder = tiny_bert.write(tmp_path / "most", pooling="max_tokens")
    with pytest.raises(UnexpectedFolder, match="uses a pooling that a GGUF file cannot describe"):
        convert(folder, tmp_path / "out.gguf")
    folder = tiny_bert.write(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mpnet"}))
    with pytest.raises(UnexpectedFolder, match="mpnet"):
        convert(folder, tmp_path / "out.gguf")
    (folder / "config.json").unlink()
    assert "config.json" in run(folder, tmp_path / "out.gguf").stderr
    assert list(tmp_path.glob("out*")) == []
