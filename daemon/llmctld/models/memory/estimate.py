"""How much memory a model takes: estimated before the load from header and settings, measured after it.

Loads no model; layout.py knows how llama.cpp lays out memory.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from llmctl import wire
from llmctl.config import ModelEntry, ModelSettings
from llmctl.errors import InvalidRequest, LlmctlError, ModelUnavailable
from llmctl.regular import read_json
from llmctld.models.catalogue import split
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.header import DamagedHeader, Header, joined, read_whole_header
from llmctld.models.catalogue.target import ECHO, LLAMA, REMOTE
from llmctld.models.memory import folder
from llmctld.models.memory.layout import Estimate, context, embedding, is_possible, text
from llmctld.runtime.log import log
from llmctld.storage.loss import LossRule
from llmctld.storage.state_file import StateFile

__all__ = ["Estimate", "Estimates"]

SHAPING = (
    "context", "slots", "retained", "gpu_layers", "device", "tensor_split", "kv_type", "flash_attention", "batch", "speculation",
    "draft", "pooling", "dtype", "quantization", "takes",
)  # fmt: skip
"""Settings that change the memory of a model."""


class MeasuredMemory(msgspec.Struct):
    """Bytes of a model at its last load. `key`: its identity and the settings in SHAPING."""

    key: str
    bytes: int


class Estimates:
    """`file`: stores the measurements as JSON, name -> Measured. `tell` takes notices about the file."""

    def __init__(self, catalog: Catalog, file: Path, tell: Callable[[str], None] = lambda notice: None) -> None:
        self._catalog = catalog
        rule = LossRule("the file of measured memory", tell, "models are measured again", "it is written again")
        self.file = StateFile(file, rule, lambda: msgspec.json.encode(self._measured))
        self._measured = self._read()
        self._headers: dict[tuple[str, int, int], Header] = {}

    def of(self, entry: ModelEntry) -> Estimate:
        """The estimate before loading. Never raises: if a file cannot be read, its size counts."""
        try:
            settings = self._catalog.settings(entry)
        except LlmctlError:
            settings = ModelSettings()
        return self._of(entry, settings)

    def _of(self, entry: ModelEntry, settings: ModelSettings) -> Estimate:
        if entry.backend == ECHO:
            return Estimate(int(settings.takes or 0), 0, 0)
        if Path(entry.target).is_dir():
            return self._of_folder(entry, settings)
        try:
            found = self._of_file(entry, settings)
        except (ArithmeticError, ValueError, IndexError):  # header values that fit no model
            found = None
        if found is not None and not is_possible(found):
            found = None
        return found or Estimate(_bytes_of(Path(entry.target)), 0, 0)

    def _of_file(self, entry: ModelEntry, settings: ModelSettings) -> Estimate | None:
        header = self._header(Path(entry.target))
        if header is None:
            return None
        if entry.kind == "embedding":
            return embedding(header, settings)
        found = text(header, settings)
        if settings.draft and settings.speculation != "off" and (second := self._header(Path(settings.draft))):
            shape = msgspec.structs.replace(settings, kv_type="f16", context=context(header, settings))
            more = text(second, shape)
            found = Estimate(*(one + other for one, other in zip(found, more, strict=True)))
        return found

    def _of_folder(self, entry: ModelEntry, settings: ModelSettings) -> Estimate:
        path = Path(entry.target)
        try:
            found = (folder.embedding if entry.kind == "embedding" else folder.text)(path, settings)
        except (OSError, ValueError, TypeError, ArithmeticError):  # a config.json that describes no model
            found = None
        return found if found is not None and is_possible(found) else Estimate(_bytes_of(path), 0, 0)

    def _header(self, path: Path) -> Header | None:
        """The header of the first part with the weights of all parts; None if one cannot be read."""
        try:
            return joined([self._one(part) for part in split.parts(path)])
        except (OSError, DamagedHeader):
            return None

    def _one(self, path: Path) -> Header:
        found = path.stat()
        key = (str(path), found.st_size, found.st_mtime_ns)
        if key not in self._headers:
            header = read_whole_header(path)
            self._headers[key] = header._replace(weights=found.st_size if header.weights is None else header.weights)
        return self._headers[key]

    def architectures(self, paths: Iterable[Path]) -> list[str]:
        """The architectures of the models in these files."""
        headers = (self._header(path) for path in paths)
        return [str(header.values.get("general.architecture", "")) for header in headers if header is not None]

    def types(self, paths: Iterable[Path]) -> frozenset[str]:
        """Tensor types in these models' files; unreadable files are skipped."""
        headers = (self._header(path) for path in paths)
        return frozenset[str]().union(*(header.types for header in headers if header is not None))

    def tell(self, entry: ModelEntry, settings: ModelSettings) -> wire.Estimated:
        """The estimate with these settings, and the measurement. Raises InvalidRequest for a remote model."""
        if entry.backend == REMOTE:
            raise InvalidRequest(
                f"{entry.name} runs at {entry.target} and uses no memory on this machine",
                "Name a model that runs on this machine.",
            )
        if entry.backend == LLAMA and self._header(Path(entry.target)) is None:
            self._catalog.identity(entry)  # raises if a file is missing
            message = f"the memory of {entry.target} cannot be estimated: its header is incomplete"
            raise ModelUnavailable(message, "The file may be damaged or truncated; download it again.")
        found = self._of(entry, settings)
        key = self._key(entry, settings)
        measured = next((known.bytes for known in self._measured.values() if known.key == key), None)
        return wire.Estimated(
            weights_bytes=found.weights, kv_bytes=found.kv, compute_bytes=found.compute, total_bytes=found.total,
            measured_bytes=measured,
        )  # fmt: skip

    def measured(self, entry: ModelEntry) -> int | None:
        """Bytes at the last load, if file and settings are unchanged."""
        known = self._measured.get(entry.name)
        return known.bytes if known is not None and known.key == self._key(entry) else None

    def note(self, entry: ModelEntry, measured_bytes: int) -> None:
        """Stores the measurement, also for the next hub. Write errors are logged."""
        key = self._key(entry)
        if key is None or self._measured.get(entry.name) == MeasuredMemory(key, measured_bytes):
            return
        self._measured[entry.name] = MeasuredMemory(key, measured_bytes)
        try:
            self.file.write(msgspec.json.encode(self._measured))
        except OSError as error:
            log.warning("the memory of models cannot be stored", file=str(self.file.path), reason=error.strerror)

    def _read(self) -> dict[str, MeasuredMemory]:
        with suppress(OSError):
            try:
                return read_json(self.file.path, dict[str, MeasuredMemory])
            except ValueError as error:
                self.file.set_damaged_aside(error)
        return {}

    def _key(self, entry: ModelEntry, settings: ModelSettings | None = None) -> str | None:
        try:
            identity, settings = self._catalog.identity(entry), settings or self._catalog.settings(entry)
        except LlmctlError:
            return None
        shape = [getattr(settings, name) for name in SHAPING]
        return f"{identity} {msgspec.json.encode(shape, enc_hook=int).decode()}"  # a Size is encoded as a number


def _bytes_of(path: Path) -> int:
    """Size of a file with its other parts, or of the weights in a folder; 0 if there is none."""
    try:
        files = folder.files(path) if path.is_dir() else split.parts(path)
        return sum(file.stat().st_size for file in files if file.is_file())
    except (OSError, ValueError):
        return 0
