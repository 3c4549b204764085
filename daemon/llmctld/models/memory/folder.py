"""Memory of a folder on torch: weights from its safetensors headers, the rest from its config.json.

Reads headers (https://github.com/huggingface/safetensors, "Format") without torch or transformers. The engines' memory
layout is in engine/embed/torch.py and engine/hf/paged.py.
"""

import math
import struct
from pathlib import Path
from typing import Any

import msgspec

from llmctl.config import CONTEXT_CAP, ModelSettings
from llmctl.regular import json_as, read_json, read_python_json
from llmctld.models.catalogue.catalog import SLOTS
from llmctld.models.machine.machine import gpus
from llmctld.models.memory.layout import BATCH, CELLS, Estimate

MOST = 100 * 2**20
"""Maximum header size; the library refuses a longer one too."""
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = ("F64", "F32", "F16", "BF16")
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
QUANTIZED = {"int8": 1.06, "nf4": 0.6}
"""Bytes of a quantized weight, scale included."""


WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


class Index(msgspec.Struct):
    """Tensor -> the file that contains it."""

    weight_map: dict[str, str]


class StoredTensor(msgspec.Struct):
    dtype: str = ""
    shape: list[int] = []


def embedding(folder: Path, settings: ModelSettings) -> Estimate:
    """A sentence-transformers folder: 32-bit weights on a CPU, and no memory kept between texts."""
    return Estimate(_weights(folder, None if _on_gpu(settings) else 4.0), 0, 0)


def text(folder: Path, settings: ModelSettings) -> Estimate:
    """A transformers folder with paged KV memory. Raises OSError and ValueError.

    GPT-2 and related models use other names for the same fields.
    """
    config = config_of(folder)
    wanted = settings.dtype or "auto"
    as_stored = str(config.get("dtype") or config.get("torch_dtype") or "float32") if _on_gpu(settings) else "float32"
    width = BYTES.get(as_stored if wanted == "auto" else wanted, 4.0)
    weights = _weights(folder, QUANTIZED.get(settings.quantization or "", width))
    own = config.get("max_position_embeddings") or config.get("n_positions") or CONTEXT_CAP
    slots = settings.slots or SLOTS["text"]
    streams = slots + (slots if settings.retained is None else settings.retained)
    cells = streams * -(-(settings.context or min(own, CONTEXT_CAP)) // CELLS) * CELLS
    heads = config.get("num_attention_heads") or config.get("n_head") or 1
    key_heads = config.get("num_key_value_heads") or heads
    head = config.get("head_dim") or (config.get("hidden_size") or config.get("n_embd", 0)) // heads
    batch = settings.batch or BATCH
    masks = (
        (2 if config.get("sliding_window") else 1) * batch * (cells + batch)
    )  # a row attends to the stored cells and to its own step
    kept = 2 * (config.get("num_hidden_layers") or config.get("n_layer", 0)) * key_heads * head
    read = 2 * (heads + key_heads) * head
    return Estimate(weights, int(cells * kept * width), int((cells * read + masks) * width))


def _on_gpu(settings: ModelSettings) -> bool:
    return settings.gpu_layers != 0 and bool(gpus())


def config_of(folder: Path) -> dict[str, Any]:
    """The fields of the text model, which multimodal models nest in `text_config`."""
    config = read_python_json(folder / "config.json", dict[str, Any])
    inner = config.get("text_config")
    return config | inner if isinstance(inner, dict) else config


def files(folder: Path) -> list[Path]:
    """Weight files in a folder and its subfolders, as the libraries choose them: `model.safetensors`, else the files
    of its index, else all. Other files are duplicates of the same weights. Raises OSError and ValueError.
    """
    found: dict[Path, set[Path]] = {}
    for file in folder.rglob("*.safetensors"):
        found.setdefault(file.parent, set()).add(file)
    return sorted(file for place, its in found.items() for file in its & _read(place, its))


def _read(folder: Path, there: set[Path]) -> set[Path]:
    if (whole := folder / WHOLE) in there:
        return {whole}
    try:
        index = read_json(folder / INDEX, Index)
    except FileNotFoundError:
        return there
    return {folder / name for name in index.weight_map.values()}


def missing(folder: Path) -> list[str]:
    """Names of weight files that the folder's index lists and that do not exist. Raises ValueError for a damaged index."""
    if (folder / WHOLE).exists():
        return []
    try:
        index = read_json(folder / INDEX, Index)
    except FileNotFoundError:
        return []
    return sorted(name for name in set(index.weight_map.values()) if not (folder / name).is_file())


def _weights(folder: Path, width: float | None) -> int:
    """Bytes of all tensors: floating-point ones with `width` bytes per value if given, all others as stored."""
    total = 0.0
    for file in files(folder):
        for tensor in _tensors(file):
            stored = WIDTHS.get(tensor.dtype, 1)
            total += math.prod(tensor.shape) * (width if width and tensor.dtype in FLOATS else stored)
    return int(total)


def _tensors(file: Path) -> list[StoredTensor]:
    if not file.is_file():  # opening a pipe would wait for a writer
        raise ValueError(f"{file} is not a regular file")
    with file.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if length > MOST:
            raise ValueError(f"{file} has a header of {length} bytes")
        found = json_as(stream.read(length), dict[str, StoredTensor])
    return [tensor for name, tensor in found.items() if name != "__metadata__"]
