"""Which models exist: a JSON file per added model, names and aliases, settings, and what identifies a model's file.

It does not know what is loaded. It reads a few blocks of a model's file, never the whole of it.
"""

import hashlib
import os
import stat
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from llmctl.config import ModelEntry, ModelSettings, check_name, decode, read_models
from llmctl.errors import ConfigError, InvalidRequest, ModelUnavailable, NotFound, Storage, Usage, nearest
from llmctld.watch import log

SAMPLES, BLOCK = 64, 4096
HEADER = 2**20
"""The first MiB holds a GGUF file's metadata, or most of it."""

ECHO = "echo"
BACKENDS = {"echo": "llmctl", "llama.cpp": "llama-cpp-python"}
"""Backend -> the distribution whose version belongs to an answer's identity."""


class AdapterUse(NamedTuple):
    """A LoRA adapter's file, how strongly it works, and what changes when the file does."""

    path: str
    scale: float
    identity: str


class Catalog:
    """The added models in `folder`; `overrides` are the `models.NAME` sections of the configuration and win over `--set`."""

    def __init__(self, folder: Path, overrides: Mapping[str, ModelSettings]) -> None:
        self._folder, self._overrides = folder, overrides
        self._entries = read_models(folder, log.warning)
        self._settings: dict[str, ModelSettings] = {}
        self._identities: dict[tuple[str, int, int, int], str] = {}

    def find(self, name: str | None) -> ModelEntry:
        """The model of that name or alias; without a name the first one added. Raises ModelUnavailable."""
        if name is None:
            if not self._entries:
                raise ModelUnavailable("no model has been added", "`llmctl models add NAME FILE.gguf` adds one.")
            return next(iter(self._entries.values()))
        entry = self._names().get(name)
        if entry is None:
            hint = nearest(name, self._names()) or "`llmctl models add NAME FILE.gguf` adds one."
            raise ModelUnavailable(f"there is no model {name!r}", hint)
        return entry

    def _names(self) -> dict[str, ModelEntry]:
        aliases = {alias: entry for entry in self._entries.values() for alias in entry.aliases}
        return aliases | self._entries

    def settings(self, entry: ModelEntry) -> ModelSettings:
        """What `--set` gave, then what the configuration says."""
        if entry.name not in self._settings:
            self._settings[entry.name] = self._resolve(entry)
        return self._settings[entry.name]

    def _resolve(self, entry: ModelEntry) -> ModelSettings:
        over = self._overrides.get(entry.name, ModelSettings())
        given = {name: value for name in over.__struct_fields__ if (value := getattr(over, name)) is not None}
        return decode(ModelSettings, entry.settings | given, f"the settings of model {entry.name}")

    def add(self, name: str, target: str, aliases: list[str], settings: dict[str, str], force: bool) -> ModelEntry:
        """Writes the model's file. Raises Usage when the name is taken, ModelUnavailable when the target is no model."""
        aliases = [alias for alias in dict.fromkeys(aliases) if alias != name]
        for word in (name, *aliases):
            check_name("model name", word)
            owner = self._names().get(word)
            if owner is not None and not (force and owner.name == name):
                raise Usage(f"{word!r} already names the model {owner.name} ({owner.target})", "`--force` replaces it.")
        backend = ECHO if target == ECHO else "llama.cpp"
        if backend != ECHO:
            check_gguf(Path(target))
        entry = ModelEntry(
            name=name, target=target, backend=backend, aliases=aliases, settings=_given(settings), added=time.time()
        )
        if name in self._entries:  # a replaced model keeps its place: the oldest is the default
            entry.added = self._entries[name].added
        self._write(entry)
        self._entries = read_models(self._folder, log.warning)
        self._settings.pop(name, None)
        return entry

    def _write(self, entry: ModelEntry) -> None:
        file = self._folder / f"{entry.name}.json"
        temporary = file.with_suffix(".tmp")
        try:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(entry), indent=2))
            os.replace(temporary, file)
        except OSError as error:
            raise Storage(f"{file} cannot be written: {error.strerror}") from error

    def remove(self, name: str) -> ModelEntry:
        entry = self.find(name)
        try:
            (self._folder / f"{entry.name}.json").unlink(missing_ok=True)
        except OSError as error:
            raise Storage(f"the file of model {entry.name} cannot be removed: {error.strerror}") from error
        self._entries.pop(entry.name)
        return entry

    def adapters(self, entry: ModelEntry, wanted: Mapping[str, float]) -> list[AdapterUse]:
        """Those that a request asks for, by name. Raises NotFound, and ModelUnavailable when a file cannot be read."""
        known = self.settings(entry).adapters or {}
        uses = []
        for name, scale in sorted(wanted.items()):
            if name not in known:
                hint = nearest(name, known) or "`models.NAME.adapters` in the configuration lists a model's adapters."
                raise NotFound(f"the model {entry.name} has no adapter {name!r}", hint)
            check_gguf(Path(known[name]))
            found = Path(known[name]).stat()
            uses.append(AdapterUse(known[name], scale, f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"))
        return uses

    def identity(self, entry: ModelEntry) -> str:
        """Changes when the model's file or the library that computes changes. Raises ModelUnavailable without a file."""
        library = _library(entry.backend)
        if entry.backend == ECHO:
            return f"echo {library}"
        try:
            found = _regular(Path(entry.target))
            place = (entry.target, found.st_ino, found.st_size, found.st_mtime_ns)
            if place not in self._identities:
                self._identities[place] = _sample(Path(entry.target), found.st_size)
        except OSError as error:
            raise ModelUnavailable(f"{entry.target} cannot be read: {error.strerror}") from error
        return f"{self._identities[place]} {library}"


@cache
def _library(backend: str) -> str:
    return version(BACKENDS[backend])


def _given(settings: dict[str, str]) -> dict[str, Any]:
    """`--set key=value` as typed values; `adapters` is a JSON object. Raises InvalidRequest naming key and value."""
    values: dict[str, Any] = dict(settings)
    try:
        if "adapters" in values:
            values["adapters"] = msgspec.json.decode(values["adapters"])
        decoded = decode(ModelSettings, values, "--set", text=True)
    except msgspec.DecodeError as error:
        message = f"adapters is {values['adapters']!r}, which is not a JSON object ({error})"
        raise InvalidRequest(message, '--set \'adapters={"NAME": "/path/of/adapter.gguf"}\'') from error
    except ConfigError as error:
        raise InvalidRequest(error.message, "`llmctl config show` lists the settings of a model.") from error
    return {key: getattr(decoded, key) for key in settings}


def check_gguf(path: Path) -> None:
    """Raises ModelUnavailable when `path` is no GGUF file; what lies behind the header is the engine's to judge."""
    try:
        _regular(path)
        with path.open("rb") as file:
            head = file.read(24)
    except OSError as error:
        raise ModelUnavailable(f"{path} cannot be read: {error.strerror}", "Check the path.") from error
    if len(head) < 24 or head[:4] != b"GGUF":
        raise ModelUnavailable(
            f"{path} is not a GGUF file: it begins with {head[:4]!r} and not with b'GGUF'",
            "Give the path of a model in GGUF format, or `echo`.",
        )


def _regular(path: Path) -> os.stat_result:
    """Opening a named pipe would wait, and everybody with it, for who writes to it."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ModelUnavailable(f"{path} is not a regular file", "Give the path of a model in GGUF format, or `echo`.")
    return found


def _sample(path: Path, size: int) -> str:
    """Size, header, end, and blocks spread evenly between: a full hash of 40 GB is a coffee break."""
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(HEADER))
        for index in range(SAMPLES + 1):
            file.seek(max(0, (size - BLOCK) * index // SAMPLES))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()
