"""git-lfs pointers: the short text files that a clone without git-lfs has in place of large files.

It reads the beginning of small files (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md) and knows no model format.
"""

from collections.abc import Iterator
from pathlib import Path

BEGINNING = b"version https://git-lfs.github.com/spec/"
POINTER_BYTES = 1024
"""Maximum size of a pointer in bytes, by its specification."""
HINT = "Run `git lfs install` and `git lfs pull` in {folder}, or download the model with `llmctl pull`."


def pointer_at(path: Path) -> tuple[str, str] | None:
    """(message, hint) if the file, or a file that the folder needs, is a pointer; else None."""
    try:
        found = next((file for file in _needed(path) if _is_pointer(file)), None)
    except OSError:
        return None  # reported by whoever opens the file
    if found is None:
        return None
    return f"{found} is a git-lfs pointer, not the file itself", HINT.format(folder=found.parent)


def _needed(path: Path) -> Iterator[Path]:
    """The file itself; for a folder, the files in it and in its modules (`1_Pooling`) that an engine reads."""
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
    if not file.is_file() or file.stat().st_size > POINTER_BYTES:
        return False
    with file.open("rb") as stream:
        return stream.read(len(BEGINNING)) == BEGINNING
