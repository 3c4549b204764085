"""What a model's target is: a GGUF file, a folder of transformers or
sentence-transformers, `echo`, or the address of an endpoint.

It reads the beginning of a file, and knows no model by name.
"""

import os
import stat
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmctl.errors import ModelUnavailable
from llmctl.pointers import pointer_at
from llmctld.models.catalogue import split
from llmctld.models.catalogue.address import check_address, is_address
from llmctld.models.catalogue.header import CutOff, DamagedHeader, Value, read_header, read_whole_header

ECHO, LLAMA, TORCH, TRANSFORMERS = "echo", "llama.cpp", "sentence-transformers", "transformers"
REMOTE = "remote"
MODULES, CONFIG = "modules.json", "config.json"
"""The files by which a folder is one of sentence-transformers, or of transformers."""
TEXT = ("ForCausalLM", "LMHeadModel")
"""How the architectures end that continue a text; the second in GPT-2's times."""
RANK = 4
"""The pooling of a model that compares two texts, instead of giving a vector for one."""
KINDS_OF_TARGET = (
    "Give the path of a GGUF file, of a folder of transformers or sentence-transformers, an http address, or `echo`."
)


WHOLE = "Fetch it, or copy it, once more."


class Described(msgspec.Struct):
    """What a folder's config.json says, as far as it is looked at."""

    architectures: list[str] | None = None
    model_type: str = ""
    is_encoder_decoder: bool = False


class TargetType(NamedTuple):
    """What computes a target, and what comes of it: "text" or "embedding"."""

    backend: str
    kind: str


def type_of(target: str) -> TargetType:
    """Raises ModelUnavailable where it is nothing that can be loaded; what lies behind a header is the engine's to judge."""
    if target == ECHO:
        return TargetType(ECHO, "text")
    if is_address(target):
        check_address(target)
        return TargetType(REMOTE, "text")
    path = Path(target)
    check_pointers(path)
    if path.is_dir():
        return _of_folder(path)
    for part in _parts(path):
        check_gguf(part)
    try:
        header = read_header(path)
    except (OSError, DamagedHeader):
        header = {}
    return TargetType(LLAMA, _kind(path, header))


def _of_folder(path: Path) -> TargetType:
    if (path / MODULES).is_file():
        return TargetType(TORCH, "embedding")
    if not (path / CONFIG).is_file():
        message = f"{path} is a folder without {MODULES} and without {CONFIG}: it holds no model"
        raise ModelUnavailable(message, KINDS_OF_TARGET)
    try:
        config = msgspec.json.decode((path / CONFIG).read_bytes(), type=Described)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelUnavailable(f"{path / CONFIG} cannot be read: {error}", "Check the folder.") from error
    architectures = config.architectures or []
    # one that names its type alone may be anything: the library knows, and the engine tries it at load
    goes_on = any(name.endswith(TEXT) for name in architectures) or (config.model_type and not architectures)
    if config.is_encoder_decoder or not goes_on:
        kind = ", ".join(architectures) or config.model_type or f"that its {CONFIG} does not name"
        message = f"{path} is a folder without {MODULES}, and holds a model of the kind {kind}"
        raise ModelUnavailable(message, f"Take one that generates text (its architecture ends in {' or '.join(TEXT)}).")
    return TargetType(TRANSFORMERS, "text")


def check_weights(target: str, trust: bool) -> None:
    """Of a transformers folder. Raises ModelUnavailable where only a pickle holds its weights, or nothing does."""
    path = Path(target)
    if any(path.glob("*.safetensors")):
        return
    pickle = next(iter(sorted(path.glob("*.bin"))), None)
    if pickle is None:
        raise ModelUnavailable(f"{path} has no weights: no file *.safetensors", "Fetch the whole folder.")
    if not trust:
        message = f"the weights in {pickle} are a pickle, which may run code when it is read"
        hint = "Take a version of this model with safetensors, or give `--set trust=true` (setting `trust`)."
        raise ModelUnavailable(message, hint)


def _kind(path: Path, header: dict[str, Value]) -> str:
    architecture = header.get("general.architecture", "")
    pooling = header.get(f"{architecture}.pooling_type")
    if pooling == RANK:
        raise ModelUnavailable(
            f"{path} holds a model that ranks pairs of texts: it makes neither text nor embeddings",
            "Take an embedding model, or one that generates text.",
        )
    makes_none = header.get(f"{architecture}.attention.causal") is False
    return "embedding" if makes_none or pooling else "text"


def _parts(path: Path) -> list[Path]:
    """All files of a model, which its first one names. Raises ModelUnavailable for a path of another, or with one missing."""
    parts = split.parts(path)
    if path != parts[0]:
        raise ModelUnavailable(f"{path} is a part of a model in {len(parts)} files", f"Give the first one: {parts[0]}")
    if path.exists():
        for part in parts:
            if not part.exists():
                message = f"{path} is the first of {len(parts)} files of a model, and {part.name} is missing"
                raise ModelUnavailable(message, "Fetch the missing one, and put it beside the others.")
    return parts


def check_pointers(path: Path) -> None:
    """Raises ModelUnavailable where a clone holds git-lfs pointers instead of files."""
    found = pointer_at(path)
    if found is not None:
        raise ModelUnavailable(*found)


def check_gguf(path: Path) -> None:
    """Raises ModelUnavailable when `path` is no GGUF file."""
    check_pointers(path)
    try:
        regular(path)
        with path.open("rb") as file:
            head = file.read(24)
    except OSError as error:
        raise ModelUnavailable(f"{path} cannot be read: {error.strerror}", "Check the path.") from error
    if len(head) < 24 or head[:4] != b"GGUF":
        raise ModelUnavailable(
            f"{path} is not a GGUF file: it begins with {head[:4]!r} and not with b'GGUF'", KINDS_OF_TARGET
        )


def check_whole(path: Path) -> None:
    """Of a GGUF file, in all its parts. Raises ModelUnavailable where one ends before its tensors do."""
    for part in split.parts(path):
        try:
            size, needed = part.stat().st_size, read_whole_header(part).end
        except CutOff as error:
            raise ModelUnavailable(f"{error}: it was cut off", WHOLE) from error
        except (OSError, DamagedHeader):
            continue  # for the engine to judge
        if size < needed:
            raise ModelUnavailable(f"{part} was cut off: it has {size} bytes, and its tensors need {needed}", WHOLE)


def regular(path: Path) -> os.stat_result:
    """Opening a named pipe would wait, and everybody with it, for who writes to it."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ModelUnavailable(f"{path} is not a regular file", KINDS_OF_TARGET)
    return found
