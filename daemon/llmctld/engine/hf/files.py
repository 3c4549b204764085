"""Checks of a transformers folder that need no torch, whose import takes seconds.

Reads JSON and safetensors headers, no weights.
"""

import json
import math
import struct
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmctld.engine.errors import LoadError
from llmctld.engine.messages import Load

LIBRARY = "5.23"
"""The version of transformers whose continuous batching paged.py uses."""
QUANTIZED = {"int8": ("torchao",), "nf4": ("bitsandbytes", "accelerate")}
"""Setting -> packages it requires."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
FETCH = "The folder may be damaged or incomplete: download it again."


def check(load: Load) -> None:
    """Raises LoadError: missing or damaged files, weights that need `trust`, missing packages."""
    folder = Path(load.path)
    _check_library(load)
    config_of(load)
    files = weights_of(load)
    for file in files:
        if file.suffix == ".safetensors":
            numbers_of(load, file)
        elif not load.trust:
            message = f"{load.name}: the weights in {file} are a pickle, which may run code when it is read"
            hint = "Use a version of this model with safetensors, or set `trust = true` for it."
            raise LoadError(message, hint)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        message = f"{load.name}: there is no tokenizer in {folder}"
        raise LoadError(message, "A model needs its tokenizer.json (or tokenizer.model) beside its weights.")
    wanted = load.quantization
    if wanted is not None and wanted not in QUANTIZED:
        raise LoadError(f"{load.name}: quantization is {wanted!r}, but must be one of {', '.join(QUANTIZED)}")
    missing = [package for package in QUANTIZED.get(wanted or "", ()) if find_spec(package) is None]
    if missing:
        message = f'{load.name}: `quantization = "{wanted}"` needs {" and ".join(missing)}, not installed here'
        raise LoadError(message, f"`pip install {' '.join(missing)}` installs it.")


def _check_library(load: Load) -> None:
    """The continuous batching differs between versions."""
    try:
        found = version("transformers")
    except PackageNotFoundError:
        found = "none"
    if not found.startswith(f"{LIBRARY}."):
        message = f"{load.name}: a folder needs transformers {LIBRARY} (Python 3.11 or newer), but {found} is installed"
        raise LoadError(message, f"`pip install 'transformers=={LIBRARY}.*'` installs it.")


def config_of(load: Load) -> dict[str, Any]:
    """The content of config.json."""
    path = Path(load.path) / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LoadError(f"{load.name}: {path} cannot be read: {first_line(error)}", FETCH) from error
    if not isinstance(found, dict):
        raise LoadError(f"{load.name}: {path} is not a JSON object", FETCH)
    return found


def weights_of(load: Load) -> list[Path]:
    """The weight files, as the library chooses them: `model.safetensors`, else those of its index, else all safetensors, else
    pickles. Other files contain the same weights again."""
    folder = Path(load.path)
    if (whole := folder / "model.safetensors").is_file():
        return [whole]
    if (index := folder / "model.safetensors.index.json").is_file():
        return _indexed(load, index)
    found = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not found:
        raise LoadError(f"{load.name}: {folder} has no weights: there is no *.safetensors file", FETCH)
    return found


def _indexed(load: Load, index: Path) -> list[Path]:
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LoadError(f"{load.name}: {index} cannot be read: {first_line(error)}", FETCH) from error
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing or not names:
        message = f"{load.name}: {index.name} lists {len(names)} weight files, of which {len(missing)} are missing"
        raise LoadError(f"{message}: {', '.join(missing[:3])}", FETCH)
    return [index.parent / name for name in names]


def numbers_of(load: Load, file: Path) -> int:
    """Number of weights in the file, by its header (https://github.com/huggingface/safetensors, "Format")."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError(f"its header claims {length} bytes")
            header = json.loads(stream.read(length))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        whole = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
        if whole > size:
            raise ValueError(f"it is truncated: {size} of {whole} bytes")
        return sum(math.prod(tensor["shape"]) for tensor in tensors)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
        struct.error,
    ) as error:
        raise LoadError(f"{load.name}: {file} cannot be read: {first_line(error)}", FETCH) from error


def first_line(error: BaseException) -> str:
    """The first line of a library's error, which is the part that helps a user."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
