"""How much memory a model will take, told before it is loaded from the file's header and the settings; and what it took.

It knows where the numbers stand, and loads no model; how llama.cpp lays out its memory is layout.py's.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from llmctl import wire
from llmctl.config import ModelEntry, ModelSettings
from llmctl.errors import InvalidRequest, LlmctlError, ModelUnavailable
from llmctld.models.catalogue import split
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.header import DamagedHeader, Header, read_whole_header
from llmctld.models.catalogue.target import ECHO, LLAMA, REMOTE
from llmctld.models.memory import folder
from llmctld.models.memory.layout import Estimate, context, embedding, text
from llmctld.storage.files import write_whole
from llmctld.watch import log

__all__ = ["Estimate", "Estimates"]

SHAPING = (
    "context", "slots", "retained", "gpu_layers", "device", "tensor_split", "kv_type", "flash_attention", "batch", "speculation",
    "draft", "pooling", "dtype", "quantization", "takes",
)  # fmt: skip
"""Settings that change how much memory a model takes."""


class Measured(msgspec.Struct):
    """What a model took when it was last loaded, and as what: `key` is its identity with the settings that matter."""

    key: str
    bytes: int


class Estimates:
    """`file` keeps what was measured: name -> Measured, as JSON. A file that cannot be read is begun anew."""

    def __init__(self, catalog: Catalog, file: Path) -> None:
        self._catalog, self._file = catalog, file
        self._measured = _read(file)
        self._headers: dict[tuple[str, int, int], Header] = {}

    def of(self, entry: ModelEntry) -> Estimate:
        """Before loading; a header is read once. Never raises: what cannot be read counts as the size of its file."""
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
        except (ArithmeticError, ValueError, IndexError):  # a header whose numbers are no model's
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
            return (folder.embedding if entry.kind == "embedding" else folder.text)(path, settings)
        except (OSError, ValueError, TypeError, ArithmeticError):  # what the folder says is no model's description
            return Estimate(_bytes_of(path), 0, 0)

    def _header(self, path: Path) -> Header | None:
        """Of the first part, with the weights of all; None where a part cannot be read."""
        try:
            return self._whole([self._one(part) for part in split.parts(path)])
        except (OSError, DamagedHeader):
            return None

    def _one(self, path: Path) -> Header:
        found = path.stat()
        key = (str(path), found.st_size, found.st_mtime_ns)
        if key not in self._headers:
            header = read_whole_header(path)
            self._headers[key] = header._replace(weights=found.st_size if header.weights is None else header.weights)
        return self._headers[key]

    def _whole(self, parts: list[Header]) -> Header:
        shapes = {name: shape for part in parts for name, shape in part.shapes.items()}
        types = frozenset[str]().union(*(part.types for part in parts))
        return parts[0]._replace(weights=sum(part.weights or 0 for part in parts), shapes=shapes, types=types)

    def architectures(self, paths: Iterable[Path]) -> list[str]:
        """Of these models' files, as each calls its own."""
        headers = (self._header(path) for path in paths)
        return [str(header.values.get("general.architecture", "")) for header in headers if header is not None]

    def types(self, paths: Iterable[Path]) -> frozenset[str]:
        """Of the tensors in these models' files; none of one that cannot be read."""
        headers = (self._header(path) for path in paths)
        return frozenset[str]().union(*(header.types for header in headers if header is not None))

    def tell(self, entry: ModelEntry, settings: ModelSettings) -> wire.Estimated:
        """What the model would take with these settings. Raises InvalidRequest for one that runs elsewhere."""
        if entry.backend == REMOTE:
            raise InvalidRequest(
                f"{entry.name} runs at {entry.target}: it takes no memory here", "Give the name of a model with a file."
            )
        if entry.backend == LLAMA and self._header(Path(entry.target)) is None:
            message = f"{entry.target} cannot be sized: its header cannot be read to the end"
            raise ModelUnavailable(message, "The file may be damaged or cut short; take a whole one.")
        found = self._of(entry, settings)
        key = self._key(entry, settings)
        measured = next((known.bytes for known in self._measured.values() if known.key == key), None)
        return wire.Estimated(
            weights_bytes=found.weights, kv_bytes=found.kv, compute_bytes=found.compute, total_bytes=found.total,
            measured_bytes=measured,
        )  # fmt: skip

    def measured(self, entry: ModelEntry) -> int | None:
        """Bytes when it was last loaded, if that was the same file with the same settings."""
        known = self._measured.get(entry.name)
        return known.bytes if known is not None and known.key == self._key(entry) else None

    def note(self, entry: ModelEntry, measured_bytes: int) -> None:
        """Keeps it, also for the next hub. What cannot be written is logged."""
        key = self._key(entry)
        if key is None or self._measured.get(entry.name) == Measured(key, measured_bytes):
            return
        self._measured[entry.name] = Measured(key, measured_bytes)
        try:
            write_whole(self._file, msgspec.json.encode(self._measured))
        except OSError as error:
            log.warning("what a model takes cannot be written down", file=str(self._file), reason=error.strerror)

    def _key(self, entry: ModelEntry, settings: ModelSettings | None = None) -> str | None:
        try:
            identity, settings = self._catalog.identity(entry), settings or self._catalog.settings(entry)
        except LlmctlError:
            return None
        shape = [getattr(settings, name) for name in SHAPING]
        return f"{identity} {msgspec.json.encode(shape, enc_hook=int).decode()}"  # a Size is a number


def _read(file: Path) -> dict[str, Measured]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Measured])
    except (OSError, msgspec.DecodeError):
        return {}


def _bytes_of(path: Path) -> int:
    """Of a file with its other parts, or of the weights in a folder; 0 where there is none."""
    try:
        files = folder.files(path) if path.is_dir() else split.parts(path)
        return sum(file.stat().st_size for file in files if file.is_file())
    except (OSError, ValueError):
        return 0
