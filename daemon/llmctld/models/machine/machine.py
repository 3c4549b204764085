"""The machine's memory: host memory within the limits of control groups, and the GPUs that engines can use.

Reads the kernel's files and asks NVIDIA's library; memory_budget.py decides what models may use.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import psutil

from llmctl.control_groups import memory_limits
from llmctld.runtime.log import log


class HostMemory(NamedTuple):
    """Bytes of host memory: in total, and available without evicting anything."""

    total: int
    free: int


@dataclass(frozen=True)
class Gpu:
    """A GPU with the index that engines use (`cuda:INDEX`), and its bytes of memory."""

    index: int
    name: str
    total: int
    free: int


def memory(root: Path = Path("/")) -> HostMemory:
    """Memory of the machine, or of the tightest control group of this process."""
    found = psutil.virtual_memory()
    total, free = int(found.total), int(found.available)
    for limit, used in memory_limits(root):
        total, free = min(total, limit), min(free, max(0, limit - used))
    return HostMemory(total, free)


def gpus(environ: Mapping[str, str] = os.environ) -> list[Gpu]:
    """NVIDIA GPUs in the order that engines use; [] without a GPU or a working driver."""
    nvml = _nvml()
    if nvml is None:
        return []
    found = []
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        names = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        for index, number in enumerate(visible(names, environ)):
            handle = handles[number]
            bytes_ = nvml.nvmlDeviceGetMemoryInfo(handle)
            found.append(Gpu(index, _text(nvml.nvmlDeviceGetName(handle)), int(bytes_.total), int(bytes_.free)))
    except nvml.NVMLError as error:
        log.warning("the GPUs cannot be read", error=str(error))
        return []
    return found


def visible(uuids: Sequence[str], environ: Mapping[str, str]) -> list[int]:
    """Indices of the GPUs that CUDA shows, in its order. CUDA_VISIBLE_DEVICES lists numbers or prefixes of UUIDs, and
    ends at the first invalid one.

    https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#env-vars
    """
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(range(len(uuids)))
    found: list[int] = []
    for word in map(str.strip, wanted.split(",")):
        if word.isdecimal():
            matches = [int(word)] if int(word) < len(uuids) else []
        else:
            matches = [number for number, uuid in enumerate(uuids) if word and uuid.startswith(word)]
        if len(matches) != 1 or matches[0] in found:
            break
        found += matches
    return found


@cache
def _nvml() -> ModuleType | None:
    """NVIDIA's library, initialised once per process."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.debug("there is no NVIDIA driver", error=str(error))
        return None
    library: ModuleType = pynvml
    return library


def _text(value: str | bytes) -> str:
    """Old versions of the library return bytes."""
    return value.decode() if isinstance(value, bytes) else value
