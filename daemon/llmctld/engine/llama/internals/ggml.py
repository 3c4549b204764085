"""Calls of ggml that the binding omits: devices, buffer types, and the tensors of a file.

See ggml.h, ggml-backend.h, gguf.h. offload.py and repack.py use them.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as lib

GPU, INTEGRATED = 1, 2
"""Values of ggml_backend_dev_type: with memory of its own, and with host memory."""
WORDS = {
    "CUDA": "cuda",
    "ROCm": "cuda",
    "MUSA": "cuda",
    "MTL": "mps",
    "Metal": "mps",
    "Vulkan": "vulkan",
    "SYCL": "xpu",
}
"""The library's name of a device type -> ours; others are used in lower case."""


@dataclass(frozen=True)
class Device:
    """A GPU. `name`: the library's ("CUDA0"). `word`: ours ("cuda:0"). `buffer`: prefix of its buffer names. Bytes of memory; 0
    if unknown. `shared`: it uses host memory."""

    handle: int
    name: str
    word: str
    buffer: str
    shared: bool
    total: int
    free: int


class Shaped(NamedTuple):
    """A tensor of a file. `kind`: the format's type number. `shape`: the row first, without trailing ones."""

    name: str
    kind: int
    shape: tuple[int, ...]


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


class GgmlInitParams(ctypes.Structure):
    """ggml_init_params: for tensor descriptions only, without data."""

    _fields_ = (("bytes", ctypes.c_size_t), ("at", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


class Tensor(ctypes.Structure):
    """The beginning of ggml_tensor."""

    _fields_ = (("kind", ctypes.c_int), ("buffer", ctypes.c_void_p), ("shape", ctypes.c_int64 * 4))


def call(name: str, returns: Any, *takes: Any) -> Any:
    function = getattr(lib._lib, name)
    function.restype, function.argtypes = returns, takes
    return function


_pointer, _size = ctypes.c_void_p, ctypes.c_size_t
_dev_count = call("ggml_backend_dev_count", _size)
_dev_get = call("ggml_backend_dev_get", _pointer, _size)
_dev_type = call("ggml_backend_dev_type", ctypes.c_int, _pointer)
_dev_name = call("ggml_backend_dev_name", ctypes.c_char_p, _pointer)
_dev_memory = call("ggml_backend_dev_memory", None, _pointer, ctypes.POINTER(_size), ctypes.POINTER(_size))
_dev_reg = call("ggml_backend_dev_backend_reg", _pointer, _pointer)
_dev_buffers = call("ggml_backend_dev_buffer_type", _pointer, _pointer)
_buffers_name = call("ggml_backend_buft_name", ctypes.c_char_p, _pointer)
_reg_name = call("ggml_backend_reg_name", ctypes.c_char_p, _pointer)
_open = call("gguf_init_from_file", _pointer, ctypes.c_char_p, _InitParams)
_close = call("gguf_free", None, _pointer)
_tensors = call("gguf_get_n_tensors", ctypes.c_int64, _pointer)
_tensor_name = call("gguf_get_tensor_name", ctypes.c_char_p, _pointer, ctypes.c_int64)
_tensor_size = call("gguf_get_tensor_size", _size, _pointer, ctypes.c_int64)
_cpu = call("ggml_backend_dev_by_type", _pointer, ctypes.c_int)
_procedure = call("ggml_backend_reg_get_proc_address", _pointer, _pointer, ctypes.c_char_p)
_supports = call("ggml_backend_dev_supports_op", ctypes.c_bool, _pointer, _pointer)
_buffer = call("ggml_backend_buft_alloc_buffer", _pointer, _pointer, _size)
free_buffer = call("ggml_backend_buffer_free", None, _pointer)
begin = call("ggml_init", _pointer, GgmlInitParams)
end = call("ggml_free", None, _pointer)
_first = call("ggml_get_first_tensor", _pointer, _pointer)
_next = call("ggml_get_next_tensor", _pointer, _pointer, _pointer)
_named = call("ggml_get_name", ctypes.c_char_p, _pointer)
new = call("ggml_new_tensor", _pointer, _pointer, ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_int64))
product = call("ggml_mul_mat", _pointer, _pointer, _pointer, _pointer)
_experts = call("ggml_mul_mat_id", _pointer, _pointer, _pointer, _pointer, _pointer)
row_bytes = call("ggml_row_size", _size, ctypes.c_int, ctypes.c_int64)
start = call("ggml_backend_dev_init", _pointer, _pointer, ctypes.c_char_p)
"""Makes a device ready to compute."""
lay = call("ggml_backend_alloc_ctx_tensors_from_buft", _pointer, _pointer, _pointer)
"""Allocates the tensors of a context in buffers of a type."""
clear = call("ggml_backend_buffer_clear", None, _pointer, ctypes.c_uint8)
graph = call("ggml_new_graph", _pointer, _pointer)
expand = call("ggml_build_forward_expand", None, _pointer, _pointer)
compute = call("ggml_backend_graph_compute", ctypes.c_int, _pointer, _pointer)
F32, I32 = 0, 26
"""The format's type numbers."""
LITTLE = 2**16
"""Bytes for the descriptions of a handful of tensors."""


def devices() -> list[Device]:
    """GPUs that the library uses by default, in its order: integrated ones only if there is no other."""
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
    """Name and bytes of each tensor in a file; nothing if the library cannot read it."""
    file = _open(path.encode(), _InitParams(True, None))
    if not file:
        return
    try:
        for index in range(_tensors(file)):
            yield _tensor_name(file, index).decode(), _tensor_size(file, index)
    finally:
        _close(file)


def cpu() -> int:
    """The CPU device."""
    return int(_cpu(0))


def extra_buffers() -> dict[str, int]:
    """Buffer types for special kernels of this processor, in the library's order: name -> handle."""
    address = _procedure(_dev_reg(cpu()), b"ggml_backend_dev_get_extra_bufts")
    if not address:
        return {}
    handles = ctypes.CFUNCTYPE(ctypes.POINTER(_pointer), _pointer)(address)(cpu())
    found: dict[str, int] = {}
    while handles and (handle := handles[len(found)]):
        found[_buffers_name(handle).decode()] = handle
    return found


def plain_buffers() -> int:
    """The buffer type for weights in the file's layout."""
    return buffers_of(cpu())


def buffers_of(device: int) -> int:
    """The buffer type of a device's own memory."""
    return int(_dev_buffers(device))


def set_threads(backend: int, threads: int) -> None:
    """How many threads a started CPU device computes with."""
    address = _procedure(_dev_reg(cpu()), b"ggml_backend_set_n_threads")
    if address:
        ctypes.CFUNCTYPE(None, _pointer, ctypes.c_int)(address)(backend, threads)


def tensors(path: str) -> Iterator[Shaped]:
    """Tensors of one file; none if the library cannot read it."""
    context = _pointer()
    file = _open(path.encode(), _InitParams(True, ctypes.addressof(context)))
    if not file:
        return
    try:
        at = _first(context)
        while at:
            tensor = Tensor.from_address(at)
            shape = tuple(tensor.shape)
            while len(shape) > 1 and shape[-1] == 1:
                shape = shape[:-1]
            yield Shaped(_named(at).decode(), tensor.kind, shape)
            at = _next(context, at)
    finally:
        end(context)
        _close(file)


def tensor(context: int, kind: int, *shape: int) -> int:
    """A tensor description."""
    return int(new(context, kind, len(shape), (ctypes.c_int64 * len(shape))(*shape)))


@cache
def multiplies(kind: int, shape: tuple[int, ...], buffers: int, deep: bool) -> bool:
    """Whether the processor can multiply such a matrix in these buffers; with `deep`, one of several stacked matrices
    (experts)."""
    context, empty = begin(GgmlInitParams(LITTLE, None, True)), _buffer(buffers, 0)
    try:
        matrix = tensor(context, kind, *shape)
        Tensor.from_address(matrix).buffer = empty
        if deep:
            asked = _experts(context, matrix, tensor(context, F32, shape[0], 2, 32), tensor(context, I32, 2, 32))
        else:
            asked = product(context, matrix, tensor(context, F32, shape[0], 32))
        return bool(_supports(cpu(), asked))
    finally:
        free_buffer(empty)
        end(context)
