"""A GGUF file as llama.cpp opens it: the checks before, the weights, and what the file says about itself.

It knows files and the library's calls for them; what is computed with the weights is for those who asked for them.
"""

import ctypes
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib

from llmctld.engine.backend import LoadError
from llmctld.engine.fit import mebibytes
from llmctld.engine.messages import Load
from llmctld.engine.native_log import NativeLog


def read_weights(load: Load, log: NativeLog) -> Any:
    """The library's model. Raises LoadError: no such file, no GGUF, more than may be used, or the library's reason."""
    _check_file(load)
    lib.llama_backend_init()
    parameters = lib.llama_model_default_params()
    parameters.n_gpu_layers = load.gpu_layers
    model = lib.llama_model_load_from_file(load.path.encode(), parameters)
    if not model:
        raise LoadError(
            f"{load.name}: llama.cpp cannot load {load.path}: {log.first_error or 'it gives no reason'}",
            "The file may be damaged or cut short: fetch it again.",
        )
    return model


def _check_file(load: Load) -> None:
    path = Path(load.path)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise LoadError(f"{load.name}: cannot read {path}: {error.strerror}", "Check the path.") from error
    if magic != b"GGUF":
        raise LoadError(f"{load.name}: {path} is no GGUF file (it begins with {magic!r})", "Check the path.")
    if (size := path.stat().st_size) > load.memory_bytes:
        message = f"{load.name} does not fit in memory: the file has {mebibytes(size)}, "
        raise LoadError(message + f"and it may use {mebibytes(load.memory_bytes)}", "Take a smaller file.")


def metadata(model: Any) -> dict[str, str]:
    """What the file says about itself, but for its arrays."""

    def read(call: Any, index: int) -> str:
        size = call(model, index, None, 0) + 1
        buffer = ctypes.create_string_buffer(size)
        call(model, index, buffer, size)
        return buffer.value.decode(errors="replace")

    keys, values = lib.llama_model_meta_key_by_index, lib.llama_model_meta_val_str_by_index
    return {read(keys, index): read(values, index) for index in range(lib.llama_model_meta_count(model))}
