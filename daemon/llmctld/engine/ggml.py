"""What the binding leaves out of llama.cpp's lower library: which devices it finds, and the sizes of a file's tensors.

It knows those calls (ggml-backend.h, gguf.h); what is done with devices and sizes is offload.py's.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import llama_cpp.llama_cpp as lib

GPU, INTEGRATED = 1, 2
"""Of ggml_backend_dev_type: with memory of its own, and with that of the machine."""
WORDS = {
    "CUDA": "cuda",
    "ROCm": "cuda",
    "MUSA": "cuda",
    "MTL": "mps",
    "Metal": "mps",
    "Vulkan": "vulkan",
    "SYCL": "xpu",
}
"""The library's name of a kind of device -> ours; any other is its own, in small letters."""


@dataclass(frozen=True)
class Device:
    """A GPU. `name` is the library's ("CUDA0"), `word` ours ("cuda:0"), `buffer` begins the names of what lies there; bytes of
    memory, 0 where it does not say.

    `shared`: its memory is that of the machine.
    """

    handle: int
    name: str
    word: str
    buffer: str
    shared: bool
    total: int
    free: int


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def _call(name: str, returns: Any, *takes: Any) -> Any:
    function = getattr(lib._lib, name)
    function.restype, function.argtypes = returns, takes
    return function


_pointer, _size = ctypes.c_void_p, ctypes.c_size_t
_dev_count = _call("ggml_backend_dev_count", _size)
_dev_get = _call("ggml_backend_dev_get", _pointer, _size)
_dev_type = _call("ggml_backend_dev_type", ctypes.c_int, _pointer)
_dev_name = _call("ggml_backend_dev_name", ctypes.c_char_p, _pointer)
_dev_memory = _call("ggml_backend_dev_memory", None, _pointer, ctypes.POINTER(_size), ctypes.POINTER(_size))
_dev_reg = _call("ggml_backend_dev_backend_reg", _pointer, _pointer)
_dev_buffers = _call("ggml_backend_dev_buffer_type", _pointer, _pointer)
_buffers_name = _call("ggml_backend_buft_name", ctypes.c_char_p, _pointer)
_reg_name = _call("ggml_backend_reg_name", ctypes.c_char_p, _pointer)
_open = _call("gguf_init_from_file", _pointer, ctypes.c_char_p, _InitParams)
_close = _call("gguf_free", None, _pointer)
_tensors = _call("gguf_get_n_tensors", ctypes.c_int64, _pointer)
_tensor_name = _call("gguf_get_tensor_name", ctypes.c_char_p, _pointer, ctypes.c_int64)
_tensor_size = _call("gguf_get_tensor_size", _size, _pointer, ctypes.c_int64)


def devices() -> list[Device]:
    """The GPUs that the library uses by itself, in its order: integrated ones only where there is no other."""
    found = []
    numbers: dict[str, int] = {}
    for index in range(_dev_count()):
        handle = _dev_get(index)
        kind = _dev_type(handle)
        if kind in (GPU, INTEGRATED):
            family = _reg_name(_dev_reg(handle)).decode()
            word = WORDS.get(family, family.lower().partition("[")[0])
            number = numbers[word] = numbers.get(word, -1) + 1
            free, total = _size(), _size()
            _dev_memory(handle, free, total)
            shared = kind == INTEGRATED or word == "mps"
            name, buffer = _dev_name(handle).decode(), _buffers_name(_dev_buffers(handle)).decode()
            found.append(Device(handle, name, f"{word}:{number}", buffer, shared, total.value, free.value))
    own = [device for device in found if not device.shared]
    return own or found


def tensor_bytes(path: str) -> Iterator[tuple[str, int]]:
    """Name and bytes of each tensor in a file; nothing where the library cannot read it."""
    file = _open(path.encode(), _InitParams(True, None))
    if not file:
        return
    try:
        for index in range(_tensors(file)):
            yield _tensor_name(file, index).decode(), _tensor_size(file, index)
    finally:
        _close(file)
