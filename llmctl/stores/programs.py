"""All programs in one table, and every model that they have: each once, with a name that `models add` accepts.

What lies twice because of links, hard or symbolic, is one model; the first program in the table has it.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from llmctl.config import NAME, ModelEntry
from llmctl.paths import absolute
from llmctl.stores import gpt4all, huggingface, jan, llamacpp, lmstudio, ollama, textgen
from llmctl.stores.stored import Home, Say, StoredModel, in_utf8
from llmctl.stores.walk import models_below, name_of

PROGRAMS: dict[str, Callable[[Home, Say], Iterator[StoredModel]]] = {
    huggingface.PROGRAM: huggingface.stored,
    ollama.PROGRAM: ollama.stored,
    lmstudio.PROGRAM: lmstudio.stored,
    llamacpp.PROGRAM: llamacpp.stored,
    gpt4all.PROGRAM: gpt4all.stored,
    jan.PROGRAM: jan.stored,
    textgen.PROGRAM: textgen.stored,
}
SEARCH = "models.search"
"""The setting with further folders, which also stands for a program."""
LONGEST = 60


def find(home: Home, say: Say) -> list[StoredModel]:
    """The models of all programs, then those in the further folders. `say` is told what cannot be read."""
    seen = set[tuple[int, int]]()
    found = []
    for each in _all(home, say):
        stored = each._replace(path=absolute(str(each.path)))  # the hub runs in another folder
        try:
            place = place_of(stored.path)
        except OSError as error:
            say(f"{stored.path} is skipped: {error.strerror}")
            continue
        if in_utf8(str(stored.path)) and place not in seen:
            seen.add(place)
            found.append(stored)
    return found


def _all(home: Home, say: Say) -> Iterator[StoredModel]:
    for stored in PROGRAMS.values():
        yield from stored(home, say)
    for folder in home.search:
        if not folder.is_dir():
            say(f"{SEARCH} names {folder}, which is not a folder")
        for path in models_below(folder, say):
            yield StoredModel(SEARCH, name_of(path), path)


def names_for(found: Iterable[StoredModel], taken: Iterable[str]) -> list[str]:
    """A name for each, which no other one has: the program's own, with a number where it is taken."""
    used = set(taken)
    names = []
    for stored in found:
        name = plain(stored.name)
        if name in used:
            name = next(numbered for number in count(2) if (numbered := f"{name}-{number}") not in used)
        used.add(name)
        names.append(name)
    return names


def plain(name: str) -> str:
    """The name with what `models add` does not accept replaced by a hyphen."""
    cleaned = re.sub(r"[^A-Za-z0-9._:-]+", "-", name)[:LONGEST].strip("-._:")
    return cleaned if NAME.fullmatch(cleaned) else "model"


def added(entries: Iterable[ModelEntry]) -> dict[tuple[int, int], str]:
    """The file or folder of each model that was added -> its name."""
    found = {}
    for entry in entries:
        if Path(entry.target).is_absolute():
            with suppress(OSError):
                found[place_of(Path(entry.target))] = entry.name
    return found


def place_of(path: Path) -> tuple[int, int]:
    """What is equal for all paths of one file. Raises OSError."""
    found = path.stat()
    return found.st_dev, found.st_ino
