"""The Hugging Face cache: models--OWNER--NAME/snapshots/COMMIT/FILE, a link into blobs/.

Source: huggingface_hub, constants.py (HF_HUB_CACHE) and file_download.py; an incomplete download is blobs/ETAG.incomplete,
to which no snapshot links. `llmctl/snapshots.py` finds a repository that was named.
"""

from collections.abc import Iterator
from pathlib import Path

from llmctl.snapshots import cache_folder, snapshots_of
from llmctl.stores.stored import Home, Say, StoredModel
from llmctl.stores.walk import models_below, name_of

PROGRAM = "huggingface"
PREFIX = "models--"


def stored(home: Home, say: Say) -> Iterator[StoredModel]:
    yield from repositories(PROGRAM, cache_folder(home.environ, str(home.path)), say)


def repositories(program: str, folder: Path, say: Say) -> Iterator[StoredModel]:
    """The models of each repository: each file of the newest snapshot that has it; a folder of the snapshot in use."""
    try:
        repos = sorted(path for path in folder.iterdir() if path.name.startswith(PREFIX))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        say(f"{folder} is skipped: {error.strerror}")
        return
    for repo in repos:
        try:
            snapshots = snapshots_of(repo)
        except OSError as error:
            say(f"{repo} is skipped: {error.strerror}")
            continue
        yield from _within(program, repo, snapshots, say)


def _within(program: str, repo: Path, snapshots: list[Path], say: Say) -> Iterator[StoredModel]:
    seen = set[Path]()
    for snapshot in snapshots:
        for path in models_below(snapshot, say):
            part = path.relative_to(snapshot)
            if part in seen:
                continue
            seen.add(part)
            name = repo.name.rpartition("--")[2] if path == snapshot else name_of(path)
            yield StoredModel(program, name, path)
