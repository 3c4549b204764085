"""What llama.cpp's own quantiser makes of a file.

It knows the kinds of files and the library's call. IQ1, IQ2 and the smallest of IQ3 want an importance matrix, which nobody has
for random weights: they are left out.
"""

import ctypes
from pathlib import Path

import llama_cpp.llama_cpp as lib
from gguf import GGUFReader

QUANTS = {
    "Q4_0": "Q4_0", "Q4_1": "Q4_1", "Q5_0": "Q5_0", "Q5_1": "Q5_1", "Q8_0": "Q8_0", "Q2_K": "Q2_K", "Q3_K_M": "Q3_K",
    "Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K", "Q6_K": "Q6_K", "IQ4_NL": "IQ4_NL", "IQ4_XS": "IQ4_XS", "BF16": "BF16",
    "MXFP4_MOE": "MXFP4",
}  # fmt: skip
"""How people call a kind of file -> the type that most of its matrices have."""


def quantise(source: Path, target: Path, kind: str) -> Path:
    """`kind`: one of QUANTS. Raises ValueError where the library refuses."""
    lib.llama_backend_init()
    parameters = lib.llama_model_quantize_default_params()
    parameters.nthread = 1
    parameters.ftype = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{kind}")
    status = lib.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    if status != 0:
        raise ValueError(f"llama_model_quantize returned {status} for {kind} of {source}")
    return target


def types_of(path: Path) -> dict[str, int]:
    """Type of tensors -> how many have it."""
    names = [tensor.tensor_type.name for tensor in GGUFReader(path).tensors]
    return {name: names.count(name) for name in names}
