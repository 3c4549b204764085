"""The names of quantisations: of a GGUF file by its `general.file_type`, else by its tensors; of a folder by its config.json.

Source: llama.cpp, include/llama.h (enum llama_ftype), whose numbers never change.
"""

from collections.abc import Mapping
from typing import Any

from llmctld.models.catalogue.header import Header

FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0",
    41: "Q2_0",
}  # fmt: skip


def of_gguf(header: Header) -> str:
    """The name of the file type, else of the tensor types without F32, which is in every file."""
    number = header.values.get("general.file_type")
    named = FILE_TYPES.get(number) if isinstance(number, int) else None
    return named or "+".join(sorted(header.types - {"F32"} or header.types))


def of_folder(config: Mapping[str, Any]) -> str:
    """The quantisation method, else the number type; empty if neither is named."""
    quantised = config.get("quantization_config")
    if isinstance(quantised, dict) and isinstance(method := quantised.get("quant_method"), str):
        return method
    inner = config.get("text_config")
    stored = config.get("dtype") or config.get("torch_dtype") or (isinstance(inner, dict) and inner.get("dtype"))
    return stored if isinstance(stored, str) else ""
