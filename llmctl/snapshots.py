"""Models that other programs downloaded from Hugging Face: where their files are in its cache. Nothing is copied.

It knows the layout of the cache (https://huggingface.co/docs/huggingface_hub/guides/manage-cache) and uses no network.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from llmctl.errors import ModelUnavailable
from llmctl.paths import absolute, expanded

REPO = re.compile(r"(?P<owner>[A-Za-z0-9][\w.-]*)/(?P<name>[A-Za-z0-9][\w.-]*)(:(?P<file>.+))?")
PART = re.compile(r".*-(?!00001)\d{5}-of-\d{5}\.gguf", re.DOTALL)
"""A file of a model in several parts, other than the first."""


def cache_folder(environ: Mapping[str, str] = os.environ, user: str = "~") -> Path:
    """The folder of the cache. `user`: the home folder."""
    named = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return expanded(named)
    home = environ.get("HF_HOME") or os.path.join(environ.get("XDG_CACHE_HOME") or f"{user}/.cache", "huggingface")
    return expanded(home) / "hub"


def locate(target: str, environ: Mapping[str, str] = os.environ) -> str:
    """The path of a file, a folder, or REPO[:FILE] in the cache.

    A path that does not exist is returned as a full path; the hub reports it. Raises ModelUnavailable for a repository outside
    the cache, and if it is unclear which of its files is meant.
    """
    path = absolute(target)
    if path.is_dir():
        return str(_within(path)) if path.name.startswith("models--") or path.parent.name == "snapshots" else str(path)
    found = REPO.fullmatch(target)
    if path.exists() or not found or (found["file"] is None and target.lower().endswith(".gguf")):
        return str(path)
    folder = cache_folder(environ) / f"models--{found['owner']}--{found['name']}"
    if not folder.is_dir():
        raise ModelUnavailable(
            f"there is no file {target}, and no repository {found['owner']}/{found['name']} in {folder.parent}",
            f"`llmctl pull {target}` downloads it.",
        )
    return str(_within(folder, found["file"]))


def _within(folder: Path, file: str | None = None) -> Path:
    """The file of a cached repository; without `file` its only GGUF file, or the folder."""
    snapshot = folder if folder.parent.name == "snapshots" else _snapshot(folder)
    repo = snapshot.parent.parent.name.removeprefix("models--").replace("--", "/")
    if file is not None:
        if not (snapshot / file).exists():
            there = ", ".join(str(one.relative_to(snapshot)) for one in _models(snapshot)) or "no GGUF file"
            raise ModelUnavailable(
                f"{snapshot} has no file {file}; it has: {there}", f"`llmctl pull {repo}:{file}` downloads it."
            )
        return snapshot / file
    models = _models(snapshot)
    if len(models) > 1:
        names = ", ".join(str(model.relative_to(snapshot)) for model in models)
        raise ModelUnavailable(f"{snapshot} contains several models: {names}", f"Name one: {repo}:FILE.")
    return models[0] if models else snapshot


def _models(snapshot: Path) -> list[Path]:
    found = [path for path in snapshot.rglob("*") if path.name.lower().endswith(".gguf")]
    return sorted(path for path in found if not PART.fullmatch(path.name) and "mmproj" not in path.name.lower())


def _snapshot(folder: Path) -> Path:
    """The snapshot of the branch `main`, else the newest. Raises ModelUnavailable if there is none."""
    found = snapshots_of(folder)
    if not found:
        raise ModelUnavailable(f"{folder} contains no snapshot of its repository", "`llmctl pull` downloads one.")
    return found[0]


def snapshots_of(folder: Path) -> list[Path]:
    """The snapshots of a cached repository: that of the branch `main` first, then the newest. Raises OSError."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return []
    found = sorted((path for path in snapshots.iterdir() if path.is_dir()), key=_written, reverse=True)
    try:
        main = (folder / "refs" / "main").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return found  # downloaded by commit
    return sorted(found, key=lambda path: path.name != main)


def _written(path: Path) -> float:
    return path.stat().st_mtime
