"""The type of a model's target: a GGUF file, a transformers or sentence-transformers folder, `echo`, or an endpoint's
address.

Reads headers and configuration files, and knows no model by name.
"""

import os
import stat
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmctl.errors import ModelUnavailable
from llmctl.pointers import pointer_at
from llmctl.regular import read_python_json
from llmctld.models.catalogue import split
from llmctld.models.catalogue.address import check_address, is_address
from llmctld.models.catalogue.header import CutOff, DamagedHeader, Header, Value, read_header, read_whole_header

ECHO, LLAMA, TORCH, TRANSFORMERS = "echo", "llama.cpp", "sentence-transformers", "transformers"
REMOTE = "remote"
MODULES, CONFIG = "modules.json", "config.json"
"""Their presence marks a sentence-transformers folder, and a transformers folder."""
TEXT = ("ForCausalLM", "LMHeadModel")
"""Suffixes of architectures that generate text; the second is GPT-2's."""
PROJECTOR = "clip"
"""Architecture of a file that holds an encoder alone."""
ENCODERS = ("v.", "mm.", "a.")
"""Prefixes of the tensors of encoders (llama.cpp, tools/mtmd/clip-impl.h)."""
RANK = 4
"""Pooling type of a reranker, which scores a pair of texts instead of embedding one."""
KINDS_OF_TARGET = "Give a GGUF file, a transformers or sentence-transformers folder, an http address, or `echo`."


WHOLE = "Download or copy it again."


class Described(msgspec.Struct):
    """The fields of a folder's config.json that are used."""

    architectures: list[str] | None = None
    model_type: str = ""
    is_encoder_decoder: bool = False


class TargetType(NamedTuple):
    """The backend that runs a target, and what it makes: "text" or "embedding"."""

    backend: str
    kind: str


def type_of(target: str) -> TargetType:
    """The type of the target. Raises ModelUnavailable if it cannot be a model; the engine checks the rest when it
    loads.
    """
    if target == ECHO:
        return TargetType(ECHO, "text")
    if is_address(target):
        check_address(target)
        return TargetType(REMOTE, "text")
    path = Path(target)
    check_pointers(path)
    if path.is_dir():
        return _of_folder(path)
    for part in checked_parts(path):
        check_gguf(part)
    try:
        header = read_header(path)
    except (OSError, DamagedHeader):
        header = {}
    return TargetType(LLAMA, kind_of(path, header))


def _of_folder(path: Path) -> TargetType:
    if (path / MODULES).is_file():
        return TargetType(TORCH, "embedding")
    if not (path / CONFIG).is_file():
        message = f"{path} is a folder without {MODULES} and {CONFIG}: it contains no model"
        raise ModelUnavailable(message, KINDS_OF_TARGET)
    try:
        config = read_python_json(path / CONFIG, Described)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{path / CONFIG} cannot be read: {error}", "Check the folder.") from error
    architectures = config.architectures or []
    # a config with a model type only may be anything: the library decides when the engine loads it
    goes_on = any(name.endswith(TEXT) for name in architectures) or (config.model_type and not architectures)
    if config.is_encoder_decoder or not goes_on:
        kind = ", ".join(architectures) or config.model_type or f"that its {CONFIG} does not name"
        message = f"{path} is a folder without {MODULES}, and its model is of the type {kind}"
        raise ModelUnavailable(
            message, f"Use a model that generates text (its architecture ends in {' or '.join(TEXT)})."
        )
    return TargetType(TRANSFORMERS, "text")


def check_weights(target: str, trust: bool) -> None:
    """Checks a transformers folder. Raises ModelUnavailable if it has no weights, or only a pickle and `trust` is not
    set.
    """
    path = Path(target)
    if any(path.glob("*.safetensors")):
        return
    pickle = next(iter(sorted(path.glob("*.bin"))), None)
    if pickle is None:
        raise ModelUnavailable(f"{path} has no weights: there is no *.safetensors file", "Download the whole folder.")
    if not trust:
        message = f"the weights in {pickle} are a pickle, which can run code when it is loaded"
        hint = "Use a version of this model with safetensors, or set `trust` (`--set trust=true`)."
        raise ModelUnavailable(message, hint)


def kind_of(path: Path, header: dict[str, Value]) -> str:
    """What a GGUF file with these header values makes. Raises ModelUnavailable for a reranker."""
    architecture = header.get("general.architecture", "")
    pooling = header.get(f"{architecture}.pooling_type")
    if pooling == RANK:
        raise ModelUnavailable(
            f"{path} is a reranker: it produces neither text nor embeddings",
            "Use an embedding model, or one that generates text.",
        )
    makes_none = header.get(f"{architecture}.attention.causal") is False
    return "embedding" if makes_none or pooling else "text"


def checked_parts(path: Path) -> list[Path]:
    """All parts of the model. Raises ModelUnavailable if `path` is not the first part, or a part is missing."""
    parts = split.parts(path)
    if path != parts[0]:
        raise ModelUnavailable(f"{path} is one of {len(parts)} parts of a model", f"Use the first part: {parts[0]}")
    if path.exists():
        for part in parts:
            if not part.exists():
                message = f"{path} is the first of {len(parts)} parts of a model, and {part.name} is missing"
                raise ModelUnavailable(message, "Download the missing part into the same folder.")
    return parts


def check_pointers(path: Path) -> None:
    """Raises ModelUnavailable if the path holds git-lfs pointers instead of files."""
    found = pointer_at(path)
    if found is not None:
        raise ModelUnavailable(*found)


def check_gguf(path: Path) -> None:
    """Raises ModelUnavailable if the path is not a GGUF file."""
    check_pointers(path)
    try:
        regular(path)
        with path.open("rb") as file:
            head = file.read(24)
    except OSError as error:
        raise ModelUnavailable(f"{path} cannot be read: {error.strerror}", "Check the path.") from error
    if len(head) < 24 or head[:4] != b"GGUF":
        raise ModelUnavailable(
            f"{path} is not a GGUF file: it starts with {head[:4]!r} instead of b'GGUF'", KINDS_OF_TARGET
        )


def check_whole(path: Path) -> None:
    """Checks a GGUF file in all its parts. Raises ModelUnavailable if one ends before its tensors do, or holds an image
    encoder.
    """
    for part in split.parts(path):
        try:
            size, header = part.stat().st_size, read_whole_header(part)
        except CutOff as error:
            raise ModelUnavailable(f"{error}: it is truncated", WHOLE) from error
        except (OSError, DamagedHeader):
            continue  # the engine reports it
        if size < header.end:
            message = f"{part} is truncated: it has {size} bytes, and its tensors need {header.end}"
            raise ModelUnavailable(message, WHOLE)
        check_engine(part, header)


def check_engine(path: Path, header: Header) -> None:
    """Raises ModelUnavailable for a language model with the tensors of an image or audio encoder in the same file.

    ollama converts models so for its own engine. llama.cpp reads the encoder from a file of its own, and refuses a model
    file with tensors that it does not know (llama-model-loader.cpp, done_getting_tensors).
    """
    if header.values.get("general.architecture") != PROJECTOR and any(
        name.startswith(ENCODERS) for name in header.shapes
    ):
        message = f"{path} also contains an image or audio encoder: it is made for ollama and does not run in llama.cpp"
        raise ModelUnavailable(message, "`llmctl pull OWNER/NAME-GGUF` downloads a version of the model for llama.cpp.")


def regular(path: Path) -> os.stat_result:
    """The file's status. Raises ModelUnavailable unless it is a regular file: opening a named pipe would block the
    hub.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ModelUnavailable(f"{path} is not a regular file", KINDS_OF_TARGET)
    return found
