"""GPT4All: GGUF files in its download folder; a download in progress is called incomplete-FILE.

Source: nomic-ai/gpt4all, gpt4all-chat/src/mysettings.cpp (defaultLocalModelsPath; `modelPath` in GPT4All.ini names another
folder), src/modellist.cpp (incompleteDownloadPath), and gpt4all-bindings/python/gpt4all/gpt4all.py (~/.cache/gpt4all).
"""

from collections.abc import Iterator
from pathlib import Path

from llmctl.stores.stored import Home, Say, StoredModel, read_small
from llmctl.stores.walk import models_below, name_of

PROGRAM = "gpt4all"
KEY = "modelPath="


def stored(home: Home, say: Say) -> Iterator[StoredModel]:
    for folder in dict.fromkeys(_folders(home)):
        for path in models_below(folder, say):
            if path.is_file():
                yield StoredModel(PROGRAM, name_of(path), path)


def _folders(home: Home) -> Iterator[Path]:
    try:  # Qt writes INI files below ~/.config on every Unix
        settings = read_small(home.path / ".config" / "nomic.ai" / "GPT4All.ini").decode(errors="replace")
    except OSError:
        settings = ""
    for line in settings.splitlines():
        if line.startswith(KEY) and (named := line.removeprefix(KEY).strip('"')).startswith("/"):
            yield Path(named)
    yield home.data / "nomic.ai" / "GPT4All"
    yield home.path / ".cache" / "gpt4all"
