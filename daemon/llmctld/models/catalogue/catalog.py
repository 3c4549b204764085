"""Which models exist: a JSON file per added model, names and aliases, settings, and what each one is for.

It does not know what is loaded, nor how a model's file is read.
"""

import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from llmctl.config import ModelEntry, ModelSettings, Size, check_name, decode, read_models
from llmctl.errors import (
    FIRST_MODEL,
    ConfigError,
    InvalidRequest,
    LlmctlError,
    ModelUnavailable,
    NotFound,
    Storage,
    Usage,
    nearest,
    short,
)
from llmctld.models.catalogue.chat_template import read_template
from llmctld.models.catalogue.contents import Contents
from llmctld.models.catalogue.target import (
    ECHO,
    LLAMA,
    REMOTE,
    TORCH,
    TRANSFORMERS,
    TargetType,
    check_gguf,
    check_weights,
    check_whole,
    type_of,
)
from llmctld.storage.files import write_whole
from llmctld.watch import log

T = TypeVar("T")
PYTHON = "{}.{}".format(*sys.version_info)
BACKENDS = {ECHO: "llmctl", LLAMA: "llama-cpp-python", TORCH: "sentence-transformers", TRANSFORMERS: "transformers"}
"""Backend -> the distribution whose version belongs to an answer's identity."""

MAKES = {"text": "text", "embedding": "embeddings"}
USED_BY = {"text": "ask", "embedding": "embed"}
SLOTS = {"text": 4, "embedding": 32}
"""By what a model makes: requests that run together, or texts of one batch."""
IN_JSON = {
    "adapters": '{"NAME": "/path/of/adapter.gguf"}',
    "prompts": '{"query": "search_query: "}',
    "tensor_split": "[3, 1]",
    "tags": '["code"]',
    "template_options": '{"NAME": "value"}',
}
"""Settings that are mappings or lists, and how one is written in a shell."""

OF_REMOTE = {"remote_model", "api_key_env", "retries", "idle_s", "takes_grammar"}
OF_ENGINES = {
    "retained", "threads", "gpu_layers", "device", "tensor_split", "kv_type", "flash_attention", "batch", "adapters",
    "speculation", "pooling", "draft", "dtype", "quantization", "trust", "template", "load_ms", "takes", "first_ms",
    "token_ms", "fail",
}  # fmt: skip
"""Settings that would mean nothing to the other kind: for an endpoint's engine they are chosen by who runs it."""
REMOTE_SLOTS = 16
"""What runs elsewhere costs nothing here: how many run together is for the endpoint to say, by its 429."""


class AdapterUse(NamedTuple):
    """A LoRA adapter's file, how strongly it works, and what changes when the file does."""

    path: str
    scale: float
    identity: str


class Catalog:
    """The added models in `folder`; `overrides` are the `models.NAME` sections of the configuration and win over `--set`."""

    def __init__(self, folder: Path, overrides: Mapping[str, ModelSettings], contents: Contents | None = None) -> None:
        self._folder, self._overrides = folder, overrides
        self._entries = read_models(folder, log.warning)
        self._settings: dict[str, ModelSettings] = {}
        self.contents = contents or Contents()

    def find(self, name: str) -> ModelEntry:
        """The model of that name or alias. Raises ModelUnavailable."""
        entry = self._names().get(name)
        if entry is None:
            hint = nearest(name, self._names()) or FIRST_MODEL
            raise ModelUnavailable(f"there is no model {short(name)!r}", hint)
        return entry

    def choose(self, name: str | None, kind: str) -> ModelEntry:
        """The model of that name, which must be of this kind; without a name the first of it that was added.

        Raises ModelUnavailable, and InvalidRequest for one that makes something else.
        """
        if name is None:
            entry = next((entry for entry in self._entries.values() if entry.kind == kind), None)
            if entry is None:
                raise ModelUnavailable(
                    f"no model has been added that makes {MAKES[kind]}", FIRST_MODEL if kind == "text" else None
                )
            return entry
        entry = self.find(name)
        if entry.kind != kind:
            message = f"the model {entry.name} makes {MAKES[entry.kind]}, and no {MAKES[kind]}"
            raise InvalidRequest(message, f"`llmctl {USED_BY[entry.kind]} -m {entry.name}` uses it.")
        return entry

    def all(self) -> list[ModelEntry]:
        """The oldest first."""
        return list(self._entries.values())

    def resolve(self, target: str, settings: dict[str, str]) -> tuple[ModelEntry, ModelSettings]:
        """The model of that name or alias, or what an absolute path would be added as; with its settings, and these over
        them. Raises ModelUnavailable and InvalidRequest.
        """
        if Path(target).is_absolute():
            backend, kind = type_of(target)
            entry = ModelEntry(name=Path(target).name, target=target, backend=backend, kind=kind)
            return entry, msgspec.structs.replace(ModelSettings(), **_given(settings))
        entry = self.find(target)
        return entry, msgspec.structs.replace(self.settings(entry), **_given(settings))

    def names(self, kind: str) -> list[str]:
        """Of the models of this kind, the oldest first."""
        return [entry.name for entry in self._entries.values() if entry.kind == kind]

    def _names(self) -> dict[str, ModelEntry]:
        aliases = {alias: entry for entry in self._entries.values() for alias in entry.aliases}
        return aliases | self._entries

    def settings(self, entry: ModelEntry) -> ModelSettings:
        """What `--set` gave, then what the configuration says."""
        if entry.name not in self._settings:
            self._settings[entry.name] = self._resolve(entry)
        return self._settings[entry.name]

    def _override(self, name: str) -> ModelSettings:
        return self._overrides.get(name, ModelSettings())

    def _resolve(self, entry: ModelEntry) -> ModelSettings:
        over = self._override(entry.name)
        given = {name: value for name in over.__struct_fields__ if (value := getattr(over, name)) is not None}
        return decode(ModelSettings, entry.settings | given, f"the settings of model {entry.name}")

    def check_names(self, name: str, aliases: list[str], force: bool) -> list[str]:
        """The aliases, each once. Raises Usage for a name that is taken, InvalidRequest for what is none."""
        aliases = [alias for alias in dict.fromkeys(aliases) if alias != name]
        for word in (name, *aliases):
            check_name("model name", word)
            owner = self._names().get(word)
            if owner is not None and not (force and owner.name == name):
                hint = "`--force` replaces it." if owner.name == name else "Take another name."
                what = "already names" if owner.name == word else "is already another name of"
                raise Usage(f"{word!r} {what} the model {owner.name} ({owner.target})", hint)
        return aliases

    def check_settings(self, settings: dict[str, str]) -> None:
        """Raises InvalidRequest that names the one which is wrong."""
        _given(settings)

    def add(
        self,
        name: str,
        target: str,
        aliases: list[str],
        settings: dict[str, str],
        force: bool,
        pulled: str = "",
        kind: str | None = None,
    ) -> ModelEntry:
        """Writes the model's file. `kind`: what an endpoint's model makes, since its address does not tell.

        Raises Usage when the name is taken, ModelUnavailable when the target is no model, InvalidRequest.
        """
        aliases = self.check_names(name, aliases, force)
        backend, kind = _nature(target, kind)
        given = _given(settings)
        _check_settings(given, backend)
        if backend == TRANSFORMERS:
            check_weights(target, given.get("trust") or bool(self._override(name).trust))
        if (draft := given.get("draft")) is not None:
            _check_draft(draft, TargetType(backend, kind), target)
        if (template := given.get("template")) is not None:
            _check_template(template, TargetType(backend, kind), target)
        entry = ModelEntry(
            name=name,
            target=target,
            backend=backend,
            kind=kind,
            aliases=aliases,
            settings=given,
            added=time.time(),
            pulled=pulled,
        )
        if name in self._entries:  # a replaced model keeps its place: the oldest is the default
            entry.added = self._entries[name].added
        self._write(entry)
        self._entries = read_models(self._folder, log.warning)
        self._settings.pop(name, None)
        return entry

    def check_pin(self, name: str, pinned: bool) -> ModelEntry:
        """Raises Usage where the configuration says otherwise."""
        entry = self.find(name)
        over = self._overrides.get(entry.name, ModelSettings()).pin
        if over is not None and over != pinned:
            message = f"the configuration says models.{entry.name}.pin = {str(over).lower()}, and it wins"
            raise Usage(message, "Change it there, and `llmctl daemon restart`.")
        return entry

    def pin(self, name: str, pinned: bool) -> ModelEntry:
        """Writes the setting into the model's file. Raises what `check_pin` does."""
        entry = self.check_pin(name, pinned)
        rest = {key: value for key, value in entry.settings.items() if key != "pin"}
        entry.settings = rest | ({"pin": True} if pinned else {})
        self._write(entry)
        self._settings.pop(entry.name, None)
        return entry

    def _write(self, entry: ModelEntry) -> None:
        file = self._folder / f"{entry.name}.json"
        try:
            write_whole(file, msgspec.json.format(msgspec.json.encode(entry), indent=2))
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

    def slots(self, entry: ModelEntry) -> int:
        """Requests of this model that run together, or texts of one batch, unless there is no room for so many."""
        return self.settings(entry).slots or (REMOTE_SLOTS if entry.backend == REMOTE else SLOTS[entry.kind])

    def adapters(self, entry: ModelEntry, wanted: Mapping[str, float]) -> list[AdapterUse]:
        """Those that a request asks for, by name. Raises NotFound, and ModelUnavailable when a file cannot be read."""
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
        """Changes when the model's file, that of its draft or template, or the library that computes changes.

        Raises ModelUnavailable without a file.
        """
        if entry.backend == ECHO:
            return f"{ECHO} {_library(ECHO)}"
        if entry.backend == REMOTE:  # what its server does with it nobody knows
            return f"{REMOTE} {entry.target.rstrip('/')} {self.settings(entry).remote_model or ''}"
        files, settings = self.contents.of(entry.target), self.settings(entry)
        if settings.draft is not None and settings.speculation != "off":
            files += " " + _of_draft(settings.draft, entry.target, lambda file: self.contents.of(str(file)))
        if settings.template is not None:
            read_template(settings.template)
            files += f" {self.contents.of(settings.template)}"
        return f"{files} {_library(entry.backend)}"

    def content(self, entry: ModelEntry, adapters: Mapping[str, float] = {}) -> str:
        """The identity with that of the adapters that a request asks for. Raises what those two do."""
        return " ".join([self.identity(entry), *(use.identity for use in self.adapters(entry, adapters))])

    def still(self, content: str, entry: ModelEntry, adapters: Mapping[str, float] = {}) -> bool:
        """Whether that is still the content: files are what they were, also where a full hash has renamed them since."""
        try:
            return " ".join(map(self.contents.still, content.split(" "))) == self.content(entry, adapters)
        except LlmctlError:
            return False


@cache
def _library(backend: str) -> str:
    """The release of what computes. Raises ModelUnavailable where it is not installed: not everything runs on every Python."""
    package = BACKENDS[backend]
    try:
        return version(package)
    except PackageNotFoundError as error:
        old = backend == TRANSFORMERS and PYTHON == "3.10"
        newer = f"; it takes Python 3.11 or newer, and this is {PYTHON}" if old else ""
        message = f"such a model is run by {package}, which is not installed{newer}"
        hint = "Run llmctl with a newer Python." if old else f"`pip install {package}` installs it."
        raise ModelUnavailable(message, hint) from error


def _given(settings: dict[str, str]) -> dict[str, Any]:
    """`--set key=value` as typed values; a mapping or a list is written as JSON. Raises InvalidRequest naming key and value."""
    values: dict[str, Any] = dict(settings)
    for key, example in IN_JSON.items():
        try:
            if key in values:
                values[key] = msgspec.json.decode(values[key])
        except msgspec.DecodeError as error:
            kind = "list" if example.startswith("[") else "object"
            message = f"{key} is {values[key]!r}, which is not a JSON {kind} ({error})"
            raise InvalidRequest(message, f"--set '{key}={example}'") from error
    try:
        decoded = decode(ModelSettings, values, "--set", text=True)
    except ConfigError as error:
        raise InvalidRequest(error.message, "`llmctl config show` lists the settings of a model.") from error
    return {key: _plain(getattr(decoded, key)) for key in settings}


def _plain(value: Any) -> Any:
    """As JSON has it: a duration and a size are numbers."""
    return float(value) if isinstance(value, float) else int(value) if type(value) is Size else value


def _nature(target: str, kind: str | None) -> TargetType:
    """Raises InvalidRequest where `kind` is not what the target makes."""
    found = type_of(target)
    if found.backend == LLAMA:
        check_whole(Path(target))
    if kind in (None, found.kind):
        return found
    if found.backend != REMOTE or kind not in MAKES:
        raise InvalidRequest(
            f"{target} makes {MAKES[found.kind]}; it was added as one that makes {kind}", "Leave it out."
        )
    return TargetType(REMOTE, kind)


def _check_settings(given: Mapping[str, Any], backend: str) -> None:
    """Raises InvalidRequest for a setting that would be passed over: of an engine for an endpoint, or the other way round."""
    wrong = sorted(given.keys() & (OF_ENGINES if backend == REMOTE else OF_REMOTE))
    if wrong:
        what = "a remote model" if backend == REMOTE else "a model that runs here"
        raise InvalidRequest(f"{what} takes no setting {', '.join(wrong)}", "Leave it out.")


def _check_draft(draft: str, of: TargetType, target: str) -> None:
    """Raises InvalidRequest for a model that takes none, ModelUnavailable for a file that generates no text."""
    if of != (LLAMA, "text"):
        raise InvalidRequest(f"{target} takes no `draft`: it is no GGUF file that generates text", "Leave it out.")
    if _of_draft(draft, target, lambda file: _nature(str(file), None)) != of:
        hint = "Give the path of another file as the model's `draft`, or leave that setting out."
        raise ModelUnavailable(f"{target} cannot have the draft {draft}, which generates no text", hint)


def _check_template(template: str, of: TargetType, target: str) -> None:
    """Raises InvalidRequest for a model that is given no messages, ModelUnavailable for a file that is no text."""
    if of not in ((LLAMA, "text"), (TRANSFORMERS, "text")):
        message = f"{target} takes no `template`: it is neither a GGUF file nor a folder that generates text"
        raise InvalidRequest(message, "Leave it out.")
    read_template(template)


def _of_draft(draft: str, target: str, look: Callable[[Path], T]) -> T:
    """`look` at the file of a draft model. Raises ModelUnavailable that names both files."""
    try:
        return look(Path(draft))
    except ModelUnavailable as error:
        hint = "Give the path of another file as the model's `draft`, or leave that setting out."
        raise ModelUnavailable(f"{target} cannot have the draft {draft}: {error.message}", hint) from error
