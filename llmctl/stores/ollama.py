"""ollama's store: manifests/HOST/NAMESPACE/MODEL/TAG lists the layers of a model, blobs/sha256-DIGEST holds each.

Source: ollama/ollama, envconfig/config.go (OLLAMA_MODELS), manifest/{paths,manifest,layer}.go, types/model/name.go (names and
their defaults), server/images.go (layers), server/download.go (blobs/sha256-DIGEST-partial), scripts/install.sh (the user
`ollama` with the home /usr/share/ollama). Packages of Arch, NixOS, Debian and snap use /var/lib/ollama and /var/snap/ollama.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from llmctl.errors import InvalidRequest, ModelUnavailable, nearest
from llmctl.paths import absolute
from llmctl.regular import json_as
from llmctl.stores.stored import Home, Say, StoredModel, read_small

PROGRAM = "ollama"
PREFIX = "ollama:"
HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
NAME = re.compile(
    rf"((?P<host>[A-Za-z0-9_][A-Za-z0-9_.:-]*)/)?((?P<namespace>{PART})/)?(?P<model>{PART})(:(?P<tag>{PART}))?"
)
DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
SYSTEM = (
    "/usr/share/ollama/.ollama/models", "/var/lib/ollama/.ollama/models", "/var/lib/ollama/models", "/var/lib/ollama",
    "/var/snap/ollama/common/models",
)  # fmt: skip
"""Stores of an ollama that runs as a service, as a user of its own."""
UNITS = ("/etc/systemd/system/ollama.service", "/etc/systemd/system/ollama.service.d")
"""Where the service gets another OLLAMA_MODELS than the user's shell has (ollama, docs/faq.mdx)."""
IN_UNIT = re.compile(
    r'^Environment=.*?(?:"OLLAMA_MODELS=(?P<quoted>/[^"]+)"|\bOLLAMA_MODELS=(?P<bare>/[^"\s]+))', re.MULTILINE
)
LAYER = "application/vnd.ollama.image."
UNUSED = {
    "system": "system prompt",
    "messages": "example messages",
    "projector": "image projector",
    "draft": "draft model",
}
"""Layer -> what it is, if llmctl does not use it."""
SAMPLING = {"temperature": 2.0, "top_p": 1.0, "min_p": 1.0, "top_k": 2.0**31}
"""Parameters that are settings of llmctl too -> the largest value."""
ADAPTER = "adapter"


class Layer(msgspec.Struct):
    mediaType: str = ""
    digest: str = ""

    @property
    def kind(self) -> str:
        return self.mediaType.removeprefix(LAYER)


class Manifest(msgspec.Struct):
    layers: list[Layer] = []


class OllamaName(NamedTuple):
    """The four parts of a model's name, which are the four folders of its manifest."""

    host: str
    namespace: str
    model: str
    tag: str

    def __str__(self) -> str:
        """As short as ollama accepts it: without the parts that are the default."""
        tag = "" if self.tag == TAG else f":{self.tag}"
        if self.host.lower() != HOST:
            return f"{self.host}/{self.namespace}/{self.model}{tag}"
        return f"{self.model}{tag}" if self.namespace.lower() == NAMESPACE else f"{self.namespace}/{self.model}{tag}"


class Unusable(Exception):
    """A model that ollama lists and that llmctl cannot run, with the reason."""


def is_name(target: str) -> bool:
    return target.startswith(PREFIX)


def parse(target: str) -> OllamaName:
    """The name in `ollama:NAME`. Raises InvalidRequest."""
    found = NAME.fullmatch(target.removeprefix(PREFIX))
    if found is None:
        raise InvalidRequest(
            f"{target} is not the name of an ollama model", "Write ollama:NAME or ollama:NAME:TAG, as `ollama ls` does."
        )
    host, namespace = (found["host"], found["namespace"]) if found["namespace"] else (None, found["host"])
    return OllamaName(host or HOST, namespace or NAMESPACE, found["model"], found["tag"] or TAG)


# ---- stores -----------------------------------------------------------------------------------------------------------


def stores(home: Home) -> list[Path]:
    """The folders that may be stores; most do not exist."""
    named = home.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    own = [absolute(named)] if named else []
    service = [folder for unit in UNITS for folder in _of_service(Path(unit))]
    return list(dict.fromkeys([*own, home.path / ".ollama" / "models", *home.search, *service, *map(Path, SYSTEM)]))


def _of_service(unit: Path) -> Iterator[Path]:
    """The folders that a unit of systemd, or the files in the folder of its changes, set as OLLAMA_MODELS."""
    try:
        files = sorted(unit.iterdir()) if unit.is_dir() else [unit]
        texts = [read_small(file).decode(errors="replace") for file in files]
    except OSError:
        return
    for found in IN_UNIT.finditer("\n".join(texts)):
        yield Path(found["quoted"] or found["bare"])


def stored(home: Home, say: Say) -> Iterator[StoredModel]:
    for store in stores(home):
        for name in names(store, say):
            try:
                found = _model(store, name)
            except Unusable as reason:
                say(f"{PREFIX}{name} is skipped: {reason}")
            else:
                if found is not None:
                    yield found


def names(store: Path, say: Say) -> list[OllamaName]:
    """The models of a store; none if it does not exist."""
    found: list[tuple[str, ...]] = [()]
    for _ in OllamaName._fields:
        found = [(*parts, part) for parts in found for part in _listed(store.joinpath("manifests", *parts), say)]
    models = [OllamaName(*parts) for parts in found]
    return [name for name in models if NAME.fullmatch(f"{name.host}/{name.namespace}/{name.model}:{name.tag}")]


def _listed(folder: Path, say: Say) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        closed = next((each for each in reversed([folder, *folder.parents]) if _is_closed(each)), folder)
        group = ' (`sudo usermod -aG ollama "$USER"` and a new login may change that)' if _is_system(folder) else ""
        say(f"{closed} is skipped: {error.strerror}{group}")
        return []


def _is_closed(folder: Path) -> bool:
    """Whether this user cannot enter the folder."""
    try:
        (folder / "manifests").stat()
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _is_system(folder: Path) -> bool:
    return str(folder).startswith(SYSTEM)


# ---- models -----------------------------------------------------------------------------------------------------------


def find(target: str, home: Home) -> StoredModel:
    """The model `ollama:NAME`. Raises ModelUnavailable with the nearest names, InvalidRequest for a malformed name."""
    wanted = parse(target)
    troubles: list[str] = []
    known: list[str] = []
    for store in stores(home):
        for name in names(store, troubles.append):
            known.append(f"{PREFIX}{name}")
            if [part.lower() for part in name] == [part.lower() for part in wanted]:
                return _usable(store, name)
    where = f" ({'; '.join(troubles)})" if troubles else ""
    raise ModelUnavailable(
        f"ollama has no model {wanted} here{where}",
        " ".join(filter(None, [nearest(f"{PREFIX}{wanted}", known), f"`ollama pull {wanted}` downloads it."])),
    )


def _usable(store: Path, name: OllamaName) -> StoredModel:
    try:
        found = _model(store, name)
    except Unusable as reason:
        raise ModelUnavailable(
            f"{PREFIX}{name} cannot be used: {reason}", "`llmctl models find` lists those that can."
        ) from reason
    if found is None:
        raise ModelUnavailable(
            f"{PREFIX}{name} has no model file here: it runs in ollama's cloud, or is not stored as GGUF",
            "`llmctl models find` lists the models that can be used.",
        )
    return found


def _model(store: Path, name: OllamaName) -> StoredModel | None:
    """The model of a manifest; None without a GGUF layer (cloud models, and tensors in files of their own)."""
    layers = _layers(store.joinpath("manifests", *name))
    blobs = [_blob(store, layer, name) for layer in layers if layer.kind == "model"]
    if not blobs:
        return None
    adapters = [_blob(store, layer, name) for layer in layers if layer.kind == "adapter"]
    parameters = _parameters(store, layers)
    settings = {key: str(parameters[key]) for key, most in SAMPLING.items() if _fits(parameters.get(key), most)}
    unused = [words for kind, words in UNUSED.items() if any(layer.kind == kind for layer in layers)]
    unused += ["stop strings"] if parameters.get("stop") else []
    if adapters:
        named = {ADAPTER if at == 0 else f"{ADAPTER}-{at + 1}": str(path) for at, path in enumerate(adapters)}
        settings["adapters"] = json.dumps(named)
    short = name.model if name.tag == TAG else f"{name.model}:{name.tag}"
    return StoredModel(PROGRAM, short, blobs[0], f"{PREFIX}{name}", settings, tuple(unused))


def _layers(manifest: Path) -> list[Layer]:
    try:
        return json_as(read_small(manifest), Manifest).layers
    except OSError as error:
        raise Unusable(f"{manifest} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Unusable(f"{manifest} is damaged: {error}") from error


def _blob(store: Path, layer: Layer, name: OllamaName) -> Path:
    """The file of a layer. Raises Unusable if it is missing or incomplete."""
    found = DIGEST.fullmatch(layer.digest)
    if found is None:
        raise Unusable(f"its manifest has the digest {layer.digest[:80]!r}")
    blobs = store / "blobs"
    for path in (blobs / f"sha256-{found[1]}", blobs / f"sha256:{found[1]}"):  # the second until ollama 0.1.38
        if path.is_file():
            return path
    if (blobs / f"sha256-{found[1]}-partial").exists():
        raise Unusable("its download is incomplete; `ollama pull` continues it")
    raise Unusable(f"its file {blobs / f'sha256-{found[1]}'} is missing; `ollama pull {name}` downloads it again")


def _parameters(store: Path, layers: list[Layer]) -> dict[str, Any]:
    """The parameters of the model; none if their file cannot be read."""
    layer = next((layer for layer in layers if layer.kind == "params"), None)
    found = layer and DIGEST.fullmatch(layer.digest)
    if not found:
        return {}
    try:
        return json_as(read_small(store / "blobs" / f"sha256-{found[1]}"), dict[str, Any])
    except (OSError, ValueError):
        return {}


def _fits(value: object, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


# ---- models that are gone ---------------------------------------------------------------------------------------------


def lost(target: str, path: Path, model: str) -> tuple[str, str] | None:
    """(message, hint) if the file of `ollama:NAME`, added as `model`, no longer exists: removed, or replaced by a newer one."""
    if not is_name(target) or NAME.fullmatch(target.removeprefix(PREFIX)) is None or path.exists():
        return None
    name, store = parse(target), path.parent.parent
    again = f"`llmctl models add {model} {target} --force`"
    if not store.joinpath("manifests", *name).is_file():
        hint = f"`ollama pull {name}`, then {again}, brings it back; `llmctl models rm {model}` removes it here too."
        return f"ollama has removed {name}: {path} no longer exists", hint
    try:
        _model(store, name)
    except Unusable as reason:
        return f"ollama cannot use {name} itself: {reason}", f"Then run {again}."
    return f"ollama has replaced {name}: {path} no longer exists", f"{again} uses the version that ollama has now."
