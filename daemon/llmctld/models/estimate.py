"""How much memory a model will take, told before it is loaded from the file's header and the settings; and what it took.

It knows how engines lay out their memory, in numbers, and loads no model.
"""

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmctl import wire
from llmctl.config import ModelEntry, ModelSettings
from llmctl.errors import InvalidRequest, LlmctlError
from llmctld.models.catalog import SLOTS, Catalog
from llmctld.models.header import Damaged, Header, read_whole_header
from llmctld.models.target import LLAMA
from llmctld.watch import log

CONTEXT_CAP = 8192
"""As engine/gguf.py has it, where the settings name no context."""
CELLS = 256
"""llama.cpp rounds the context of a stream up to a multiple of this."""
BATCH = 512
F32 = 4
DRAFTED = 32
"""Rows of logits that engine/speculation.py keeps free."""
VALUE_BYTES = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32,
}  # fmt: skip
"""Type of the KV memory -> bytes of one value."""
SHAPING = (
    "context", "slots", "retained", "gpu_layers", "kv_type", "flash_attention", "batch", "speculation", "draft", "pooling",
)  # fmt: skip
"""Settings that change how much memory a model takes."""


class Estimate(NamedTuple):
    """Bytes: of the weights, of the KV memory (or recurrent states), and of what is computed with them."""

    weights: int
    kv: int
    compute: int

    @property
    def total(self) -> int:
        return sum(self)


class Measured(msgspec.Struct):
    """What a model took when it was last loaded, and as what: `key` is its identity with the settings that matter."""

    key: str
    bytes: int


class Estimates:
    """`file` keeps what was measured: name -> Measured, as JSON. A file that cannot be read is begun anew."""

    def __init__(self, catalog: Catalog, file: Path) -> None:
        self._catalog, self._file = catalog, file
        self._measured = _read(file)
        self._headers: dict[tuple[str, int, int], Header | None] = {}

    def of(self, entry: ModelEntry) -> Estimate:
        """Before loading; a header is read once. Never raises: what cannot be read counts as the size of its file."""
        try:
            settings = self._catalog.settings(entry)
        except LlmctlError:
            settings = ModelSettings()
        return self._of(entry, settings)

    def _of(self, entry: ModelEntry, settings: ModelSettings) -> Estimate:
        if entry.backend != LLAMA:
            return Estimate(_bytes_of(Path(entry.target)), 0, 0)
        header = self._header(Path(entry.target))
        if header is None:
            return Estimate(_bytes_of(Path(entry.target)), 0, 0)
        if entry.kind == "embedding":
            return embedding(header, settings)
        found = text(header, settings)
        if settings.draft and settings.speculation != "off" and (second := self._header(Path(settings.draft))):
            shape = msgspec.structs.replace(settings, kv_type="f16", context=_context(header, settings))
            more = text(second, shape)
            found = Estimate(*(one + other for one, other in zip(found, more, strict=True)))
        return found

    def _header(self, path: Path) -> Header | None:
        try:
            found = path.stat()
            key = (str(path), found.st_size, found.st_mtime_ns)
            if key not in self._headers:
                header = read_whole_header(path)
                self._headers[key] = header if header.weights is not None else header._replace(weights=found.st_size)
        except (OSError, Damaged):
            return None
        return self._headers[key]

    def tell(self, entry: ModelEntry, settings: ModelSettings) -> wire.Estimated:
        """What the model would take with these settings. Raises InvalidRequest for one that runs elsewhere."""
        if entry.target.startswith(("http://", "https://")):
            raise InvalidRequest(
                f"{entry.name} runs at {entry.target}: it takes no memory here", "Give the name of a model with a file."
            )
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
        temporary = self._file.with_suffix(".tmp")
        try:
            temporary.write_bytes(msgspec.json.encode(self._measured))
            os.replace(temporary, self._file)
        except OSError as error:
            log.warning("what a model takes cannot be written down", file=str(self._file), reason=error.strerror)

    def _key(self, entry: ModelEntry, settings: ModelSettings | None = None) -> str | None:
        try:
            identity, settings = self._catalog.identity(entry), settings or self._catalog.settings(entry)
        except LlmctlError:
            return None
        return f"{identity} {msgspec.json.encode([getattr(settings, name) for name in SHAPING]).decode()}"


def _read(file: Path) -> dict[str, Measured]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Measured])
    except (OSError, msgspec.DecodeError):
        return {}


def _bytes_of(path: Path) -> int:
    """Of a file, or of the weights in a folder; 0 where there is none."""
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*.safetensors"))
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


# ---- llama.cpp ------------------------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """What a header says about the size of things: numbers of values."""

    width: int
    forward: int
    heads: int
    query: int
    keys: int
    """Of all heads of the widest layer, for one token."""
    cell: int
    """K and V of one token, over all layers."""
    words: int
    trained: int
    masks: int
    """One more where some layers look back a window only."""


def layout(header: Header) -> Layout:
    """What is not named is as wide as the model."""
    values, kind = header.values, str(header.values.get("general.architecture", ""))

    def number(key: str, default: float = 0) -> int:
        found = values.get(f"{kind}.{key}", default)
        return int(found) if isinstance(found, int | float) else int(default)

    def per_layer(key: str, default: int) -> list[int]:
        listed = header.lists.get(f"{kind}.{key}")
        return [int(one) for one in listed] if listed else [number(key, default)] * layers

    layers, width = number("block_count"), number("embedding_length")
    heads = max(per_layer("attention.head_count", 0), default=0)
    key_heads = per_layer("attention.head_count_kv", heads)
    head = width // max(heads, 1)
    key, value = number("attention.key_length", head), number("attention.value_length", head)
    words = header.shapes.get("token_embd.weight", (0, 0))[-1]
    forward = max(per_layer("feed_forward_length", 4 * width), default=0)
    return Layout(
        width, forward, heads, heads * key, max(key_heads, default=0) * key, sum(key_heads) * (key + value), words,
        number("context_length"), 2 if number("attention.sliding_window") else 1,
    )  # fmt: skip


def text(header: Header, settings: ModelSettings) -> Estimate:
    """Of a model that generates: a stream of whole cells for each slot and each retained prefix."""
    of = layout(header)
    slots = settings.slots or SLOTS["text"]
    streams = slots + (slots if settings.retained is None else settings.retained)
    cells = -(-_context(header, settings) // CELLS) * CELLS
    batch = max(settings.batch or BATCH, slots)
    rows = streams + (DRAFTED if settings.speculation != "off" else 0)
    kv = int(streams * cells * of.cell * VALUE_BYTES[settings.kv_type or "f16"])
    return Estimate(header.weights or 0, kv, _compute(of, batch, cells, rows) + streams * of.words * F32)


def embedding(header: Header, settings: ModelSettings) -> Estimate:
    """Of a model that reads a batch at once and keeps nothing of it."""
    of = layout(header)
    batch = max(settings.batch or BATCH, settings.context or min(of.trained, CONTEXT_CAP))
    return Estimate(header.weights or 0, 0, _compute(of, batch, batch, 0) + batch * of.width * F32)


def _context(header: Header, settings: ModelSettings) -> int:
    return settings.context or min(layout(header).trained, CONTEXT_CAP)


def _compute(of: Layout, batch: int, cells: int, rows: int) -> int:
    """The widest moment of a step: within attention, within the feed-forward part, or at the logits."""
    mask = 2 * cells * of.masks
    attention = F32 * (3 * of.width + 2 * of.query + of.keys) + mask
    forward = F32 * (3 * of.forward + 4 * of.width) + mask
    logits = rows * of.words * F32 + batch * F32 * of.width
    return max(batch * max(attention, forward), logits)
