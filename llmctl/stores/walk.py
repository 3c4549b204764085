"""Models in a folder and its subfolders: GGUF files, and folders with safetensors. Files are recognised by their names.

Skips what is not a model by itself: projectors, adapters, draft models, later parts, and incomplete downloads.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from llmctl.snapshots import PART
from llmctl.stores.stored import Say, in_utf8

INCOMPLETE = "incomplete-"
"""GPT4All downloads to this prefix before the name; other programs add a suffix, so that the name does not end in .gguf."""
BESIDE = ("mtp-", "eagle3-", "dflash-", "dspark-")
"""Prefixes of draft models that belong to another model (llama.cpp, common/download.cpp)."""
NOT_ONE_MODEL = ("model_index.json", "adapter_config.json")
"""Marks of an image pipeline (diffusers) and of an adapter (peft): their subfolders are no models either."""


def models_below(folder: Path, say: Say) -> Iterator[Path]:
    """Paths of GGUF files and of model folders, sorted by folder. A folder that does not exist has none."""
    waiting, seen = [folder], set[tuple[int, int]]()
    while waiting:
        place = waiting.pop()
        try:
            found = place.stat()
            if (found.st_dev, found.st_ino) in seen:
                continue  # a link that leads back
            seen.add((found.st_dev, found.st_ino))
            with os.scandir(place) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            say(f"{place} is skipped: {error.strerror}")
            continue
        names = {entry.name for entry in entries}
        if names.intersection(NOT_ONE_MODEL):
            continue
        yield from (Path(entry.path) for entry in entries if _is_model(entry, say))
        if _is_folder_model(names):
            yield place
        else:
            waiting += [Path(entry.path) for entry in reversed(entries) if _is_folder(entry, say)]


def _is_model(entry: "os.DirEntry[str]", say: Say) -> bool:
    name = entry.name.lower()
    if not name.endswith(".gguf") or name.startswith((".", INCOMPLETE, *BESIDE)) or "mmproj" in name:
        return False
    if PART.fullmatch(name) or not _can_be_named(entry, say):
        return False
    try:
        if entry.is_file():
            return True
        if entry.is_symlink() and not os.path.exists(entry.path):
            say(f"{entry.path} is skipped: it is a link to a file that does not exist")
    except OSError as error:
        say(f"{entry.path} is skipped: {error.strerror}")
    return False


def _is_folder_model(names: set[str]) -> bool:
    weights = any(name.endswith(".safetensors") for name in names)
    return "modules.json" in names or (weights and "config.json" in names)


def _is_folder(entry: "os.DirEntry[str]", say: Say) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir() and _can_be_named(entry, say)
    except OSError as error:  # a link to itself
        say(f"{entry.path} is skipped: {error.strerror}")
        return False


def _can_be_named(entry: "os.DirEntry[str]", say: Say) -> bool:
    if in_utf8(entry.path):
        return True
    say(f"{os.fsencode(entry.path)!r} is skipped: the name is not UTF-8")
    return False


def name_of(path: Path) -> str:
    """The name of a model without the suffix and the number of its first part."""
    if path.suffix.lower() != ".gguf":
        return path.name
    stem = path.name[: -len(".gguf")]
    number = stem[-len("-00001-of-00001") :]
    return stem.removesuffix(number) if number.startswith("-00001-of-") else stem
