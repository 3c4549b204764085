"""What a file or folder contains: kind, architecture, quantisation, size, and whether it fits. Adds and loads nothing.

Reads headers and configuration files, never tensors. What is broken is told apart from what is sound and of no use here.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from llmctl.config import ModelSettings
from llmctl.errors import ModelUnavailable
from llmctl.wire import FileContent
from llmctld.models.catalogue import split
from llmctld.models.catalogue.header import CutOff, DamagedHeader, Header, joined, read_whole_header
from llmctld.models.catalogue.target import (
    CONFIG,
    LLAMA,
    PROJECTOR,
    TRANSFORMERS,
    check_engine,
    check_gguf,
    check_pointers,
    check_weights,
    checked_parts,
    kind_of,
    regular,
    type_of,
)
from llmctld.models.found import file_types
from llmctld.models.memory import folder, layout
from llmctld.models.running.memory_budget import MemoryBudget

DAMAGED, UNSUPPORTED, OTHER = "damaged", "unsupported", "other"
BESIDE = ("adapter", "imatrix", "mmproj")
"""Values of `general.type` of files that belong to a model (gguf, constants.py, GGUFType)."""
KEPT = 2**14
"""Descriptions that are kept, at most."""

Stamp = tuple[tuple[int, int, int], ...]


class _Refused(Exception):
    """The file is not usable: `state` and reason."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state, self.reason = state, reason


class FileContents:
    """Descriptions of files; one that has not changed is not read again. Threads may share it."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._known: dict[str, tuple[Stamp, FileContent, int]] = {}

    def describe(self, paths: Sequence[str]) -> list[FileContent]:
        return [self.of(Path(path)) for path in paths]

    def of(self, path: Path) -> FileContent:
        """Never raises: what cannot be read is `damaged`."""
        try:
            stamp = _stamp(path)
            known = self._known.get(str(path))
            if known is None or known[0] != stamp:
                known = (stamp, *_content(path))
                if len(self._known) >= KEPT:
                    self._known.clear()
                self._known[str(path)] = known
        except _Refused as refused:
            return FileContent(str(path), refused.state, refused.reason)
        except (OSError, ValueError, TypeError, ArithmeticError) as error:  # also values that describe no model
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return FileContent(str(path), DAMAGED, f"{path} cannot be read: {reason}")
        _, content, weights = known
        return msgspec.structs.replace(content, fits=self._budget.could_hold(weights))


def _stamp(path: Path) -> Stamp:
    files = [path / CONFIG, *folder.files(path)] if path.is_dir() else split.parts(path)
    found = [file.stat() for file in files if file.exists()]
    return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)


def _content(path: Path) -> tuple[FileContent, int]:
    """The content and the bytes of its weights. Raises _Refused, OSError and ValueError."""
    return _of_folder(path) if path.is_dir() else _of_gguf(path)


# ---- GGUF -------------------------------------------------------------------------------------------------------------


def _of_gguf(path: Path) -> tuple[FileContent, int]:
    header, size = _whole(path)
    architecture = str(header.values.get("general.architecture", ""))
    described = header.values.get("general.type")
    if described in BESIDE or architecture == PROJECTOR:
        raise _Refused(OTHER, f"{path} is not a model by itself: {described or architecture}")
    if not header.shapes:
        raise _Refused(OTHER, f"{path} has a vocabulary and no weights")
    if "tokenizer.ggml.model" not in header.values:
        raise _Refused(OTHER, f"{path} has no tokenizer: {architecture or 'it'} is not a language model")
    try:
        kind = kind_of(path, header.values)
    except ModelUnavailable as error:
        raise _Refused(OTHER, error.message) from error
    try:
        check_engine(path, header)
    except ModelUnavailable as error:
        raise _Refused(UNSUPPORTED, error.message) from error
    content = FileContent(
        str(path), kind=kind, backend=LLAMA, architecture=architecture, quantization=file_types.of_gguf(header),
        context=layout.Fields(header).number("context_length"), size_bytes=size,
        total_bytes=_memory(header, kind),
    )  # fmt: skip
    return content, header.weights or 0


def _whole(path: Path) -> tuple[Header, int]:
    """The header of the first part with the tensors of all, and the size of all. Raises _Refused for an incomplete file."""
    try:
        parts = checked_parts(path)
        for part in parts:
            check_gguf(part)
    except ModelUnavailable as error:
        raise _Refused(DAMAGED, error.message) from error
    headers, sizes = [], []
    for part in parts:
        size = regular(part).st_size
        try:
            header = read_whole_header(part)
        except CutOff as error:
            raise _Refused(DAMAGED, f"{error}: the download is incomplete") from error
        except DamagedHeader as error:
            raise _Refused(DAMAGED, f"{part} is damaged: {error}") from error
        if size < header.end:
            reason = f"{part} is incomplete: it has {size} bytes, and its tensors need {header.end}"
            raise _Refused(DAMAGED, reason)
        headers.append(header._replace(weights=size if header.weights is None else header.weights))
        sizes.append(size)
    return joined(headers), sum(sizes)


def _memory(header: Header, kind: str) -> int:
    """Bytes at the default settings; of a header that fits no architecture the weights alone."""
    try:
        found = (layout.embedding if kind == "embedding" else layout.text)(header, ModelSettings())
    except (ArithmeticError, ValueError, IndexError):
        return header.weights or 0
    return found.total if layout.is_possible(found) else header.weights or 0


# ---- folders ----------------------------------------------------------------------------------------------------------


def _of_folder(path: Path) -> tuple[FileContent, int]:
    try:
        check_pointers(path)
    except ModelUnavailable as error:
        raise _Refused(DAMAGED, error.message) from error
    try:
        backend, kind = type_of(str(path))
    except ModelUnavailable as error:
        raise _Refused(OTHER, error.message) from error
    if missing := folder.missing(path):
        raise _Refused(DAMAGED, f"{path} is incomplete: {missing[0]} is missing")
    config = folder.config_of(path)
    if "quantization" in config and "quantization_config" not in config:
        raise _Refused(UNSUPPORTED, f"{path} has weights for MLX, which llmctl cannot read")
    if backend == TRANSFORMERS:
        try:
            check_weights(str(path), trust=False)
        except ModelUnavailable as error:
            raise _Refused(UNSUPPORTED, error.message) from error
    size = sum(file.stat().st_size for file in folder.files(path))
    found = (folder.embedding if kind == "embedding" else folder.text)(path, ModelSettings())
    if not layout.is_possible(found):
        raise ValueError("its description claims more memory than any machine has")
    content = FileContent(
        str(path), kind=kind, backend=backend, architecture=_architecture(config), quantization=file_types.of_folder(config),
        context=_context(config), size_bytes=size, total_bytes=found.total,
    )  # fmt: skip
    return content, found.weights


def _architecture(config: dict[str, object]) -> str:
    named = config.get("model_type")
    return named if isinstance(named, str) else ""


def _context(config: dict[str, object]) -> int:
    own = config.get("max_position_embeddings") or config.get("n_positions")
    return own if isinstance(own, int) and 0 <= own < 2**62 else 0
