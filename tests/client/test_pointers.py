"""git-lfs pointers in place of files that a model needs, and of files that it does not need."""

from pathlib import Path

import pytest

from llmctl.pointers import pointer_at

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 253000000\n"


def folder_of(place: Path, **files: str) -> Path:
    for name, text in files.items():
        path = place / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return place


def test_a_git_lfs_pointer_in_place_of_a_file_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text(POINTER)
    (tmp_path / "long.gguf").write_text(POINTER + "x" * 2000)
    found = pointer_at(tmp_path / "m.gguf")
    assert found is not None
    assert "m.gguf is a git-lfs pointer" in found[0]
    assert f"`git lfs pull` in {tmp_path}" in found[1]
    assert pointer_at(tmp_path / "long.gguf") is None
    assert pointer_at(tmp_path / "missing.gguf") is None


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"model.safetensors": POINTER}, "model.safetensors"),
        ({"a.safetensors": "x", "b.safetensors": POINTER}, "b.safetensors"),
        ({"model.safetensors": "x", "tokenizer.json": POINTER}, "tokenizer.json"),
        ({"model.safetensors": "x", "tokenizer.model": POINTER}, "tokenizer.model"),
        ({"pytorch_model.bin": POINTER}, "pytorch_model.bin"),
        ({"2_Dense__model.safetensors": POINTER}, "2_Dense/model.safetensors"),
        ({"model.safetensors": "x", "pytorch_model.bin": POINTER, "onnx__model.onnx": POINTER}, None),
        ({"model.safetensors": "x", "consolidated.safetensors": POINTER, "shot.png": POINTER}, None),
        ({"tokenizer.json": "{}", "tokenizer.model": POINTER}, None),
    ],
)
def test_a_git_lfs_pointer_among_the_required_files_of_a_folder_is_named(
    tmp_path: Path, files: dict[str, str], named: str | None
) -> None:
    found = pointer_at(folder_of(tmp_path, **files))
    assert (found is None) if named is None else (found is not None and f"{named} is a git-lfs pointer" in found[0])
