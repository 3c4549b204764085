"""A model in another program's store, and the folders of a user in which programs keep their files.

It knows no program.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llmctl.paths import absolute, expanded
from llmctl.regular import read_regular

Say = Callable[[str], None]
"""Told what cannot be read, in a sentence; the search goes on."""
SMALL = 4 * 2**20
"""Maximum size of a text file that is read."""


class StoredModel(NamedTuple):
    """`path`: the GGUF file (the first part of several) or the folder. `name`: as the program calls the model.

    `target`: what `models add` takes, if that is not the path. `settings`: to add it with, as `--set` has them.
    `unused`: parts of the model that llmctl does not use.
    """

    program: str
    name: str
    path: Path
    target: str = ""
    settings: Mapping[str, str] = {}
    unused: tuple[str, ...] = ()


class Home(NamedTuple):
    """The environment and home folder of a user, from which each program derives its folders; `search`: further folders."""

    environ: Mapping[str, str]
    path: Path
    search: tuple[Path, ...] = ()
    mac: bool = False

    @property
    def cache(self) -> Path:
        return self._folder("XDG_CACHE_HOME", ".cache", "Library/Caches")

    @property
    def data(self) -> Path:
        return self._folder("XDG_DATA_HOME", ".local/share", "Library/Application Support")

    @property
    def config(self) -> Path:
        return self._folder("XDG_CONFIG_HOME", ".config", "Library/Application Support")

    def _folder(self, variable: str, linux: str, mac: str) -> Path:
        if self.mac:
            return self.path / mac
        return Path(self.environ.get(variable) or self.path / linux)


def home_of(search: Sequence[str], environ: Mapping[str, str] = os.environ) -> Home:
    """The home of whoever runs the command. `search`: the setting `models.search`."""
    return Home(environ, expanded("~"), tuple(absolute(folder) for folder in search), sys.platform == "darwin")


def read_small(path: Path) -> bytes:
    """The content of a text file. Raises OSError, also if it is large or no regular file (a named pipe would block)."""
    return read_regular(path, SMALL)


def in_utf8(name: str) -> bool:
    """Whether a file name can be printed and sent; the system allows any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
