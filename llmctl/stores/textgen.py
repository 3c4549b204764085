"""text-generation-webui: GGUF files and folders in user_data/models of a clone in the home folder.

Source: oobabooga/text-generation-webui, modules/shared.py and modules/paths.py; models/ before version 3. `--model-dir` in
CMD_FLAGS.txt names another folder. A clone elsewhere is named in `models.search`.
"""

import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from llmctl.stores.stored import Home, Say, StoredModel, read_small
from llmctl.stores.walk import models_below, name_of

PROGRAM = "text-generation-webui"
OPTION = "--model-dir"


def stored(home: Home, say: Say) -> Iterator[StoredModel]:
    try:
        clones = sorted(path for path in home.path.iterdir() if path.name.startswith(PROGRAM) and path.is_dir())
    except OSError:
        return  # no home folder, or one of somebody else
    for clone in clones:
        for folder in dict.fromkeys((*_named(clone), clone / "user_data" / "models", clone / "models")):
            for path in models_below(folder, say):
                yield StoredModel(PROGRAM, name_of(path), path)


def _named(clone: Path) -> Iterator[Path]:
    for file in (clone / "user_data" / "CMD_FLAGS.txt", clone / "CMD_FLAGS.txt"):
        try:
            lines = read_small(file).decode(errors="replace").splitlines()
            words = [word for line in lines for word in shlex.split(line, comments=True)]
        except (OSError, ValueError):
            continue
        for option, value in pairwise(words):
            if option == OPTION:
                yield clone / value
        yield from (clone / word.partition("=")[2] for word in words if word.startswith(f"{OPTION}="))
