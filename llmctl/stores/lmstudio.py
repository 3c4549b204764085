"""LM Studio: PUBLISHER/MODEL/FILE in its models folder, and the embedding model that it brings along.

Source: lmstudio-ai/lms, src/lmstudioPaths.ts and src/subcommands/importCmd.ts (`downloadsFolder` of settings.json names
another folder); https://lmstudio.ai/docs/app/advanced/import-model. Its home is named by ~/.lmstudio-home-pointer, else
~/.lmstudio; before 0.3.6 it was ~/.cache/lm-studio, also on macOS.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from llmctl.regular import json_as
from llmctl.stores.stored import Home, Say, StoredModel, read_small
from llmctl.stores.walk import models_below, name_of

PROGRAM = "lmstudio"


class LmStudioSettings(msgspec.Struct):
    downloadsFolder: str = ""


def stored(home: Home, say: Say) -> Iterator[StoredModel]:
    for folder in dict.fromkeys(_folders(home)):
        for path in models_below(folder, say):
            yield StoredModel(PROGRAM, name_of(path), path)


def _folders(home: Home) -> Iterator[Path]:
    for place in (_pointer(home), home.path / ".lmstudio", home.path / ".cache" / "lm-studio"):
        if place is None:
            continue
        try:
            named = json_as(read_small(place / "settings.json"), LmStudioSettings).downloadsFolder
        except (OSError, ValueError):
            named = ""
        if named:
            yield Path(named)
        yield place / "models"
        yield place / ".internal" / "bundled-models"


def _pointer(home: Home) -> Path | None:
    try:
        named = read_small(home.path / ".lmstudio-home-pointer").decode().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return Path(named) if named.startswith("/") else None
