"""git-lfs pointers: the few lines of text that a clone without git-lfs holds in the place of each large file.

It reads the beginnings of small files (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md), and knows no model.
"""

from collections.abc import Iterator
from pathlib import Path

BEGINNING = b"version https://git-lfs.github.com/spec/"
LONGEST = 1024
"""Bytes of a pointer, by its specification."""
HINT = "Run `git lfs install` and `git lfs pull` in {folder}, or fetch the model with `llmctl pull`."


def pointer_at(path: Path) -> tuple[str, str] | None:
    """What is wrong and what to do, where a file, or one that a folder needs, is a pointer; else None."""
    try:
        found = next((file for file in _needed(path) if _is_pointer(file)), None)
    except OSError:
        return None  # said by who opens it
    if found is None:
        return None
    return f"{found} is a git-lfs pointer, and not the file that it stands for", HINT.format(folder=found.parent)


def _needed(path: Path) -> Iterator[Path]:
    """The file itself; of a folder, and of the modules in it (`1_Pooling`), what is read where two forms of a thing are there."""
    if not path.is_dir():
        yield path
        return
    for folder in (path, *(each for each in sorted(path.iterdir()) if each.is_dir() and each.name[:1].isdigit())):
        weights = [file for file in sorted(folder.glob("*.safetensors")) if not file.name.startswith("consolidated")]
        yield from weights or sorted(folder.glob("*.bin"))
        yield from sorted(folder.glob("*.json"))
        if not (folder / "tokenizer.json").exists():
            yield from (folder / name for name in ("tokenizer.model", "vocab.txt", "merges.txt"))


def _is_pointer(file: Path) -> bool:
    if not file.is_file() or file.stat().st_size > LONGEST:
        return False
    with file.open("rb") as stream:
        return stream.read(len(BEGINNING)) == BEGINNING
