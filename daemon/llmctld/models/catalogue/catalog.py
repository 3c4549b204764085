"""The models that were added: one JSON file each, with names, aliases and settings.

Does not know which models are loaded, nor how a model file is read.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from llmctl.config import ModelEntry, ModelSettings, check_name, decode, read_models, refuse_damaged
from llmctl.errors import (
    InvalidRequest,
    LlmctlError,
    ModelUnavailable,
    NotFound,
    Storage,
    Usage,
    nearest,
    short,
)
from llmctl.guide import OFF
from llmctl.regular import json_as
from llmctl.stores import ollama
from llmctl.suggestions import no_model_hint
from llmctld.models.catalogue.chat_template import read_template
from llmctld.models.catalogue.contents import Contents
from llmctld.models.catalogue.settings import (
    MAKES,
    changed,
    check_files,
    check_settings,
    checked_type,
    read_draft,
    typed_settings,
)
from llmctld.models.catalogue.target import (
    ECHO,
    LLAMA,
    REMOTE,
    TORCH,
    TRANSFORMERS,
    TargetType,
    check_gguf,
    check_weights,
    type_of,
)
from llmctld.runtime.log import log
from llmctld.storage.loss import LossRule
from llmctld.storage.state_file import StateFile

PYTHON = "{}.{}".format(*sys.version_info)
BACKENDS = {ECHO: "llmctl", LLAMA: "llama-cpp-python", TORCH: "sentence-transformers", TRANSFORMERS: "transformers"}
"""Backend -> the package whose version is part of an answer's identity."""

USED_BY = {"text": "ask", "embedding": "embed"}
SLOTS = {"text": 4, "embedding": 32}
"""Default number of concurrent requests of a text model, and of texts per batch of an embedding model."""
REMOTE_SLOTS = 16
"""Concurrent requests to a remote model. They cost nothing here; the endpoint limits them with status 429."""


class AdapterUse(NamedTuple):
    """A LoRA adapter: file, scale, and an identity that changes with the file."""

    path: str
    scale: float
    identity: str


class Catalog:
    """The models in `folder`. `overrides`: the `models.NAME` sections of the configuration, which take precedence over
    `--set`. `guide`: the built-in model, which is known by its name only and is never the default model.
    """

    def __init__(
        self,
        folder: Path,
        overrides: Mapping[str, ModelSettings],
        contents: Contents | None = None,
        guide: ModelEntry | None = None,
        tell: Callable[[str], None] = lambda notice: None,
    ) -> None:
        """`tell` takes notices about files of models that were lost."""
        self._folder, self._overrides, self._guide, self._tell = folder, overrides, guide, tell
        self._files: dict[str, StateFile] = {}
        self._damaged: list[str] = []
        self._entries = self._read()
        self._settings: dict[str, ModelSettings] = {}
        self.contents = contents or Contents()

    def _read(self) -> dict[str, ModelEntry]:
        self._damaged = []
        entries = read_models(self._folder, self._damaged.append)
        for message in self._damaged:
            log.warning(message)
        for name in entries.keys() - self._files.keys():
            self._files[name] = self._file_of(name)
        return entries

    def _file_of(self, name: str) -> StateFile:
        rule = LossRule(
            f"the file of the model {name}",
            self._tell,
            under_way=f"it is written again; `llmctl models rm {name}` removes the model",
        )

        def content() -> bytes | None:
            return _written(self._entries[name]) if name in self._entries else None

        return StateFile(self._folder / f"{name}.json", rule, content, sync=True, accepts=_is_entry)

    def look(self) -> None:
        """Notices that files are lost (storage/watch.py). A file that somebody edited stays; it is read at the next start."""
        for file in self._files.values():
            file.look()

    @property
    def guide(self) -> ModelEntry | None:
        """The built-in guide; None if it is not installed, or a model that was added earlier has its name."""
        return None if self._guide is None or self._guide.name in self._names() else self._guide

    def is_guide(self, entry: ModelEntry) -> bool:
        return entry is self._guide

    @property
    def has_text_model(self) -> bool:
        """Whether a model that generates text was added; a file that cannot be read may be one."""
        return bool(self.names("text") or self._damaged)

    def find(self, name: str) -> ModelEntry:
        """The model with that name or alias. Raises ModelUnavailable."""
        guide = self.guide
        entry = guide if guide is not None and name == guide.name else self._names().get(name)
        if entry is None:
            refuse_damaged(self._folder, name)
            hint = nearest(name, self._names()) or no_model_hint()
            raise ModelUnavailable(f"there is no model {short(name)!r}", hint)
        return entry

    def choose(self, name: str | None, kind: str) -> ModelEntry:
        """The model with that name, which must be of this kind; without a name the first one of the kind that was
        added.

        Raises ModelUnavailable, and InvalidRequest for a model of the other kind.
        """
        if name is None:
            entry = next((entry for entry in self._entries.values() if entry.kind == kind), None)
            if entry is None and self._damaged:
                raise ModelUnavailable(f"no model that produces {MAKES[kind]} can be read: {self._damaged[0]}")
            if entry is None:
                raise ModelUnavailable(
                    f"no model has been added that produces {MAKES[kind]}", no_model_hint() if kind == "text" else None
                )
            return entry
        entry = self.find(name)
        if entry.kind != kind:
            message = f"the model {entry.name} produces {MAKES[entry.kind]}, not {MAKES[kind]}"
            raise InvalidRequest(message, f"`llmctl {USED_BY[entry.kind]} -m {entry.name}` uses it.")
        return entry

    def added(self, name: str) -> ModelEntry:
        """The model with that name or alias, if it was added. Raises ModelUnavailable, and Usage for the guide."""
        entry = self.find(name)
        if self.is_guide(entry):
            raise Usage(f"the model {entry.name} is built in: it can be neither removed nor pinned", OFF)
        return entry

    def all(self) -> list[ModelEntry]:
        """All models that were added, oldest first."""
        return list(self._entries.values())

    def resolve(self, target: str, settings: dict[str, str]) -> tuple[ModelEntry, ModelSettings]:
        """The model with that name or alias, or an unnamed one for an absolute path; with its settings, overridden by
        `settings`.

        Raises ModelUnavailable and InvalidRequest.
        """
        if Path(target).is_absolute():
            backend, kind = type_of(target)
            entry = ModelEntry(name=Path(target).name, target=target, backend=backend, kind=kind)
            return entry, msgspec.structs.replace(ModelSettings(), **typed_settings(settings))
        entry = self.find(target)
        return entry, msgspec.structs.replace(self.settings(entry), **typed_settings(settings))

    def names(self, kind: str) -> list[str]:
        """Names of the models of this kind, oldest first."""
        return [entry.name for entry in self._entries.values() if entry.kind == kind]

    def _names(self) -> dict[str, ModelEntry]:
        aliases = {alias: entry for entry in self._entries.values() for alias in entry.aliases}
        return aliases | self._entries

    def settings(self, entry: ModelEntry) -> ModelSettings:
        """The settings of the model: those of `--set`, overridden by the configuration."""
        if entry.name not in self._settings:
            self._settings[entry.name] = self._resolve(entry)
        return self._settings[entry.name]

    def configured(self, name: str) -> frozenset[str]:
        """The settings of the model that the configuration gives."""
        over = self._override(name)
        return frozenset(key for key in over.__struct_fields__ if getattr(over, key) is not None)

    def _override(self, name: str) -> ModelSettings:
        return self._overrides.get(name, ModelSettings())

    def _resolve(self, entry: ModelEntry) -> ModelSettings:
        over = self._override(entry.name)
        given = {name: value for name in over.__struct_fields__ if (value := getattr(over, name)) is not None}
        return decode(ModelSettings, entry.settings | given, f"the settings of model {entry.name}")

    def check_names(self, name: str, aliases: list[str], force: bool) -> list[str]:
        """The aliases without duplicates. Raises Usage for a name in use, InvalidRequest for a malformed one."""
        aliases = [alias for alias in dict.fromkeys(aliases) if alias != name]
        for word in (name, *aliases):
            check_name("model name", word)
            owner = self._names().get(word)
            if owner is None and self._guide is not None and word == self._guide.name:
                raise Usage(f"{word!r} is the name of the built-in model", "Choose another name.")
            if owner is not None and not (force and owner.name == name):
                hint = "`--force` replaces it." if owner.name == name else "Choose another name."
                what = "already names" if owner.name == word else "is already an alias of"
                raise Usage(f"{word!r} {what} the model {owner.name} ({owner.target})", hint)
        return aliases

    def check_settings(self, settings: dict[str, str]) -> None:
        """Raises InvalidRequest that names the wrong setting."""
        typed_settings(settings)

    def add(
        self,
        name: str,
        target: str,
        aliases: list[str],
        settings: dict[str, str],
        force: bool,
        pulled: str = "",
        kind: str | None = None,
        origin: str = "",
    ) -> ModelEntry:
        """Writes the model's file. `kind`: what an endpoint's model makes, since the address does not tell. `origin`: as
        of ModelEntry.

        Raises Usage for a name in use, ModelUnavailable if the target is no model, InvalidRequest.
        """
        aliases = self.check_names(name, aliases, force)
        backend, kind = checked_type(target, kind)
        given = typed_settings(settings)
        check_settings(given, backend)
        if backend == TRANSFORMERS:
            check_weights(target, given.get("trust") or bool(self._override(name).trust))
        check_files(given, TargetType(backend, kind), target)
        entry = ModelEntry(
            name=name,
            target=target,
            backend=backend,
            kind=kind,
            aliases=aliases,
            settings=given,
            added=time.time(),
            pulled=pulled,
            origin=origin,
        )
        if name in self._entries:  # a replaced model keeps its date, since the oldest model is the default
            entry.added = self._entries[name].added
        self._write(entry)
        self._entries = self._read()
        self._settings.pop(name, None)
        return entry

    def change(
        self, name: str, settings: dict[str, str], unset: Sequence[str], aliases: list[str], dropped: Sequence[str]
    ) -> ModelEntry:
        """Changes settings of an added model, adds `aliases` and removes those `dropped`; writes its file.

        Raises ModelUnavailable, InvalidRequest and Usage; then nothing has changed.
        """
        entry = self.find(name)
        if self.is_guide(entry):
            hint = f"Set them in [models.{entry.name}] of the file that `llmctl config path` names."
            raise Usage(f"the model {entry.name} is built in: its settings are in the configuration", hint)
        for alias in dropped:
            if alias not in entry.aliases:
                raise NotFound(f"the model {entry.name} has no alias {short(alias)!r}", nearest(alias, entry.aliases))
        known = [alias for alias in entry.aliases if alias not in dropped]
        known += [alias for alias in self.check_names(entry.name, aliases, force=True) if alias not in known]
        given = typed_settings(settings)
        check_settings(given, entry.backend)
        check_files(given, TargetType(entry.backend, entry.kind), entry.target)
        written = changed(entry.settings, given, unset)
        self._write(msgspec.structs.replace(entry, settings=written, aliases=known))
        entry.settings, entry.aliases = written, known
        self._settings.pop(entry.name, None)
        return entry

    def overridden(self, entry: ModelEntry, keys: Iterable[str]) -> dict[str, Any]:
        """Those of the settings `keys` that the configuration sets, with its values."""
        over = self._override(entry.name)
        return {key: value for key in keys if (value := getattr(over, key)) is not None}

    def check_pin(self, name: str, pinned: bool) -> ModelEntry:
        """Raises Usage if the configuration says otherwise."""
        entry = self.added(name)
        over = self._overrides.get(entry.name, ModelSettings()).pin
        if over is not None and over != pinned:
            message = f"the configuration sets models.{entry.name}.pin = {str(over).lower()}, which takes precedence"
            raise Usage(message, "Change it there, then run `llmctl daemon restart`.")
        return entry

    def pin(self, name: str, pinned: bool) -> ModelEntry:
        """Writes the setting into the model's file. Raises Usage if the configuration says otherwise."""
        entry = self.check_pin(name, pinned)
        rest = {key: value for key, value in entry.settings.items() if key != "pin"}
        entry.settings = rest | ({"pin": True} if pinned else {})
        self._write(entry)
        self._settings.pop(entry.name, None)
        return entry

    def _write(self, entry: ModelEntry) -> None:
        file = self._files.get(entry.name) or self._file_of(entry.name)
        try:
            file.write(_written(entry))
        except OSError as error:
            raise Storage.unwritten(file.path, error) from error
        self._files[entry.name] = file

    def remove(self, name: str) -> ModelEntry:
        entry = self.added(name)
        try:
            (self._folder / f"{entry.name}.json").unlink(missing_ok=True)
        except OSError as error:
            raise Storage(f"the file of model {entry.name} cannot be removed: {error.strerror}") from error
        del self._entries[entry.name], self._files[entry.name]
        return entry

    def slots(self, entry: ModelEntry) -> int:
        """Concurrent requests of the model, or texts per batch, if memory allows."""
        return self.settings(entry).slots or (REMOTE_SLOTS if entry.backend == REMOTE else SLOTS[entry.kind])

    def adapters(self, entry: ModelEntry, wanted: Mapping[str, float]) -> list[AdapterUse]:
        """The adapters of a request, by name. Raises NotFound, and ModelUnavailable if a file cannot be read."""
        known = self.settings(entry).adapters or {}
        uses = []
        for name, scale in sorted(wanted.items()):
            if name not in known:
                hint = nearest(name, known) or "`models.NAME.adapters` in the configuration lists a model's adapters."
                raise NotFound(f"the model {entry.name} has no adapter {name!r}", hint)
            check_gguf(Path(known[name]))
            uses.append(AdapterUse(known[name], scale, self.contents.of(known[name])))
        return uses

    def identity(self, entry: ModelEntry) -> str:
        """Changes with the model's file, its draft model, its template, and the version of the library that computes.

        Raises ModelUnavailable if a file is missing.
        """
        if entry.backend == ECHO:
            return f"{ECHO} {_library(ECHO)}"
        if entry.backend == REMOTE:  # what its server does cannot be known
            return f"{REMOTE} {entry.target.rstrip('/')} {self.settings(entry).remote_model or ''}"
        try:
            files, settings = self.contents.of(entry.target), self.settings(entry)
        except ModelUnavailable as error:
            lost = ollama.lost(entry.origin, Path(entry.target), entry.name)
            raise ModelUnavailable(*lost) if lost else error from None
        if settings.draft is not None and settings.speculation != "off":
            files += " " + read_draft(settings.draft, entry.target, lambda file: self.contents.of(str(file)))
        if settings.template is not None:
            read_template(settings.template)
            files += f" {self.contents.of(settings.template)}"
        return f"{files} {_library(entry.backend)}"

    def content(self, entry: ModelEntry, adapters: Mapping[str, float] = {}) -> str:
        """The identity together with the identities of the request's adapters. Raises ModelUnavailable and NotFound."""
        return " ".join([self.identity(entry), *(use.identity for use in self.adapters(entry, adapters))])

    def still(self, content: str, entry: ModelEntry, adapters: Mapping[str, float] = {}) -> bool:
        """Whether `content` is still current. True too if a full hash has since renamed the identities of unchanged
        files.
        """
        try:
            return " ".join(map(self.contents.still, content.split(" "))) == self.content(entry, adapters)
        except LlmctlError:
            return False


@cache
def _library(backend: str) -> str:
    """The version of the package that computes. Raises ModelUnavailable if it is not installed."""
    package = BACKENDS[backend]
    try:
        return version(package)
    except PackageNotFoundError as error:
        old = backend == TRANSFORMERS and PYTHON == "3.10"
        newer = f"; it needs Python 3.11 or newer, and this is {PYTHON}" if old else ""
        message = f"this model needs the package {package}, which is not installed{newer}"
        hint = "Run llmctl with a newer Python." if old else f"`pip install {package}` installs it."
        raise ModelUnavailable(message, hint) from error


def _written(entry: ModelEntry) -> bytes:
    return msgspec.json.format(msgspec.json.encode(entry), indent=2)


def _is_entry(content: bytes) -> bool:
    try:
        json_as(content, ModelEntry)
    except ValueError:
        return False
    return True
