"""Jan: llamacpp/models/ID/model.yml in its data folder, whose `model_path` leads to the GGUF file.

Source: janhq/jan, src-tauri/src/core/app/{commands,paths}.rs (settings.json names the data folder; JAN_DATA_FOLDER) and
extensions/llamacpp-extension/src/index.ts (ID may contain slashes; `model_path` is absolute for an imported file, else it
counts from the data folder). Versions before 0.6 kept models/ there, in ~/jan, and in ~/cortexcpp.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from llmctl.regular import json_as
from llmctl.stores.stored import Home, Say, StoredModel, in_utf8, read_small
from llmctl.stores.walk import models_below, name_of

PROGRAM = "jan"
DESCRIPTION = "model.yml"


class JanSettings(msgspec.Struct):
    data_folder: str = ""


def stored(home: Home, say: Say) -> Iterator[StoredModel]:
    for data in dict.fromkeys(_folders(home)):
        for file in _descriptions(data / "llamacpp" / "models", say):
            yield from _described(data, file, say)
        for path in models_below(data / "models", say):
            yield StoredModel(PROGRAM, name_of(path), path)
    for path in models_below(home.path / "cortexcpp" / "models", say):
        yield StoredModel(PROGRAM, name_of(path), path)


def _folders(home: Home) -> Iterator[Path]:
    if named := home.environ.get("JAN_DATA_FOLDER"):
        yield Path(named)
    for settings in (home.data / "jan.ai.app", home.config / "Jan"):
        try:
            named = json_as(read_small(settings / "settings.json"), JanSettings).data_folder
        except (OSError, ValueError):
            continue
        if named.startswith("/"):
            yield Path(named)
    yield home.data / "Jan" / "data"
    yield home.path / "jan"


def _descriptions(folder: Path, say: Say) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            say(f"{error.filename} is skipped: {error.strerror}")

    for place, folders, files in os.walk(folder, onerror=failed):
        folders.sort()
        if DESCRIPTION in files and in_utf8(place):
            yield Path(place) / DESCRIPTION


def _described(data: Path, file: Path, say: Say) -> Iterator[StoredModel]:
    from llmctl.plain_yaml import read_yaml  # most users have no such file

    try:
        found: Any = read_yaml(read_small(file).decode("utf-8-sig"))
    except OSError as error:
        say(f"{file} is skipped: {error.strerror}")
        return
    except ValueError:
        found = None
    named = found.get("model_path") if isinstance(found, dict) else None
    if not isinstance(named, str) or not named:
        say(f"{file} is skipped: it names no `model_path`")
        return
    path = data / named  # an absolute path stands for itself
    if path.is_file():
        yield StoredModel(PROGRAM, file.parent.name, path)
    else:
        say(f"{path} is skipped: it is listed in {file}, but is not a file")
