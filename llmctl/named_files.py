"""Files that a template or a row names: which of them may be read, and a notice the first time that one is.

A template may come from somebody else. What the user types on the command line is not checked here.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmctl.errors import InvalidRequest, LlmctlError
from llmctl.paths import Paths, absolute, expanded, make_private
from llmctl.regular import read_json

MOST = 10_000
"""Entries of the list of what was shown; beyond it, the list begins anew."""


class Origin(NamedTuple):
    """What names a file: words for messages, and the folder that it may read from, if it has one."""

    words: str
    folder: Path | None


class NamedFiles:
    """`allow`: `templates.read_allow`. `notify` gets the notice of a file that is read for the first time."""

    def __init__(self, paths: Paths, allow: Sequence[str], notify: Callable[[str], None]) -> None:
        self._paths, self._allow, self._notify = paths, allow, notify

    def path(self, name: str, origin: Origin | None) -> str:
        """The path to open for a file that `origin` names (None: the user). Raises InvalidRequest if it may not be read.

        Links are followed before the check, and the path that was checked is the one to open.
        """
        if origin is None:
            return name
        real = os.path.realpath(absolute(name))
        folders = [os.path.realpath(place) for place in (*self._own(origin), *map(expanded, self._allow))]
        if not any(real == place or real.startswith(place.rstrip("/") + "/") for place in folders):
            own = "" if origin.folder is None else f"{origin.folder} and "
            raise InvalidRequest(
                f"{origin.words} may not read {real}: it is outside {own}the current folder",
                f"If it may, add the file or its folder to `templates.read_allow` in {self._paths.config_file}.",
            )
        if os.path.isfile(real):
            self._show(origin, real)
        elif os.path.exists(real) and not os.path.isdir(real):  # a pipe or a device has no end
            raise InvalidRequest(
                f"{origin.words} may not read {real}: it is not a regular file", "Only `-f` reads pipes and devices."
            )
        return real

    def _own(self, origin: Origin) -> list[str | Path]:
        with contextlib.suppress(FileNotFoundError):  # a current folder that no longer exists allows nothing
            return [os.getcwd(), *([origin.folder] if origin.folder is not None else [])]
        return [origin.folder] if origin.folder is not None else []

    def _show(self, origin: Origin, real: str) -> None:
        shown = self._shown()
        files = shown.setdefault(origin.words, [])
        if real in files:
            return
        self._notify(f"{origin.words} reads {real}")
        if sum(map(len, shown.values())) > MOST:
            shown, files = {origin.words: files}, files
        files.append(real)
        from llmctl.files import write_whole  # it takes longer to import than the rest, and is needed once per file

        with contextlib.suppress(OSError, LlmctlError):  # then it is shown again
            write_whole(make_private(self._paths.state) / self._paths.named_files.name, msgspec.json.encode(shown))

    def _shown(self) -> dict[str, list[str]]:
        try:
            return read_json(self._paths.named_files, dict[str, list[str]])
        except (OSError, ValueError):
            return {}
