"""Loads a transformers folder: checks, device, data type, weights."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from llmctld.engine.errors import EXITS, LoadError
from llmctld.engine.fit import mebibytes
from llmctld.engine.hf.files import FETCH, config_of, first_line, numbers_of, weights_of
from llmctld.engine.messages import Load

disable_progress_bar()  # type: ignore[no-untyped-call]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BYTES = {"int8": 1.06, "nf4": 0.6}
"""Bytes per quantised weight, including its scale."""


def read_config(load: Load) -> Any:
    """The folder's configuration. Raises LoadError, also for weights or code that need `trust`."""
    folder, plain = Path(load.path), config_of(load)
    needs_code = "auto_map" in plain and not load.trust
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=load.trust, local_files_only=True)
    except EXITS:
        raise
    except BaseException as error:
        kind = plain.get("model_type")
        if needs_code:
            message = f"{load.name}: {folder} contains code of its own for {kind!r}, which can do anything when it runs"
            raise LoadError(message, "Review it, then set `trust = true` for this model to allow it.") from error
        message = f"{load.name}: transformers does not know the model type {kind!r} of {folder}: {first_line(error)}"
        raise LoadError(message, "Check the folder, or install a newer transformers.") from error


def read_tokenizer(load: Load) -> Any:
    folder = Path(load.path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=load.trust, local_files_only=True)
        tokenizer.encode("a")
    except EXITS:
        raise
    except BaseException as error:
        message = f"{load.name}: the tokenizer in {folder} cannot be read: {first_line(error)}"
        raise LoadError(message, "A model needs its tokenizer.json (or tokenizer.model) beside its weights.") from error
    if len(tokenizer) < 2:
        raise LoadError(f"{load.name}: there is no tokenizer in {folder}", "A model needs its tokenizer.json.")
    return tokenizer


def dtype_of(load: Load, device: torch.device, config: Any) -> torch.dtype:
    """auto: float32 on a CPU, where half precision is slower; elsewhere the folder's type."""
    if load.dtype != "auto":
        return DTYPES[load.dtype]
    named = config.get_text_config().dtype
    return torch.float32 if device.type == "cpu" or named not in DTYPES.values() else named


def read_model(load: Load, config: Any, device: torch.device, dtype: torch.dtype, limit: int) -> Any:
    """The weights on their device. Raises LoadError: too large, a missing package, or the library's reason."""
    size = _weights(load, dtype)
    if size > limit:
        message = f"{load.name} does not fit in memory: its weights have {mebibytes(size)} as {_type(load, dtype)}, "
        hint = f"Unload another model, or set {_smaller(load, dtype)} for this one."
        raise LoadError(message + f"but may use only {mebibytes(limit)}", hint)
    quantized = {"quantization_config": _quantization(load, dtype)} if load.quantization else {}
    if load.quantization == "nf4" and device.type != "cpu":
        quantized["device_map"] = {"": device}
    try:
        found: Any = AutoModelForCausalLM.from_pretrained(
            load.path, config=config, dtype=dtype, local_files_only=True, trust_remote_code=load.trust,
            use_safetensors=None if load.trust else True, output_loading_info=True, **quantized,
        )  # fmt: skip
        model, told = found
        missing = sorted(told["missing_keys"])
        if not missing:
            return (model if "device_map" in quantized else model.to(device)).eval()
    except torch.OutOfMemoryError as error:
        message = f"{load.name} does not fit in the memory of {device}: {first_line(error)}"
        raise LoadError(message, f"Unload another model, or set {_smaller(load, dtype)} for this one.") from error
    except EXITS:
        raise
    except BaseException as error:
        message = f"{load.name}: transformers cannot load {load.path}: {first_line(error)}"
        raise LoadError(message, FETCH) from error
    raise LoadError(f"{load.name}: {len(missing)} weights are missing in {load.path}: {', '.join(missing[:3])}", FETCH)


def bytes_of(tensor: Any) -> int:
    """Bytes of a tensor, or of the parts of a quantised one."""
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(bytes_of(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return int(tensor.numel() * tensor.element_size())


def size_of(model: Any) -> int:
    return sum(bytes_of(tensor) for tensor in (*model.parameters(), *model.buffers()))


def _quantization(load: Load, dtype: torch.dtype) -> Any:
    makers: dict[str, Callable[[torch.dtype], Any]] = {"int8": _int8, "nf4": _nf4}
    return makers[str(load.quantization)](dtype)


def _int8(dtype: torch.dtype) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def _nf4(dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )


def _weights(load: Load, dtype: torch.dtype) -> int:
    """Bytes of the weights, by the file headers (https://github.com/huggingface/safetensors, "Format")."""
    files = weights_of(load)
    if files[0].suffix != ".safetensors":
        return sum(file.stat().st_size for file in files)
    numbers = sum(numbers_of(load, file) for file in files)
    return int(numbers * BYTES.get(load.quantization or "", dtype.itemsize))


def _type(load: Load, dtype: torch.dtype) -> str:
    return load.quantization or str(dtype).removeprefix("torch.")


def _smaller(load: Load, dtype: torch.dtype) -> str:
    return '`dtype = "bfloat16"`' if dtype == torch.float32 and not load.quantization else '`quantization = "int8"`'
