"""The machine's memory: host memory within the limits of control groups, and the GPUs that engines can use.

Reads the kernel's files and asks NVIDIA's library; memory_budget.py decides what models may use.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import psutil

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


MOUNT = "sys/fs/cgroup"
"""Mount point of control groups: of the unified hierarchy itself, of the legacy ones in a subfolder each."""


class Tree(NamedTuple):
    """File names of a hierarchy."""

    limits: tuple[str, ...]
    used: str
    reclaimable: str
    """Line of memory.stat with the inactive file pages, which the kernel drops first."""


UNIFIED = Tree(("memory.max", "memory.high"), "memory.current", "inactive_file")
"""https://docs.kernel.org/admin-guide/cgroup-v2.html; above memory.high a process is throttled, not killed."""
LEGACY = Tree(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
"""https://docs.kernel.org/admin-guide/cgroup-v1/memory.html"""


def memory(root: Path = Path("/")) -> HostMemory:
    """Memory of the machine, or of the tightest control group of this process."""
    found = psutil.virtual_memory()
    total, free = int(found.total), int(found.available)
    for limit, used in _limits(root):
        total, free = min(total, limit), min(free, max(0, limit - used))
    return HostMemory(total, free)


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, bytes used) of each control group with a limit."""
    for folder in groups(root, "memory"):
        for tree in (UNIFIED, LEGACY):
            given = [limit for name in tree.limits if (limit := _number(folder / name)) is not None]
            if given:
                used = (_number(folder / tree.used) or 0) - _statistic(folder / "memory.stat", tree.reclaimable)
                yield min(given), max(0, used)


def groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups of this process: its own and all parents."""
    for mount, path in _hierarchies(root, controller):
        own = mount / path.lstrip("/")
        # inside a container the path may be the host's: then only the mount point itself applies
        for folder in (own, *own.parents):
            yield folder
            if folder == mount:
                break


def _hierarchies(root: Path, controller: str) -> Iterator[tuple[Path, str]]:
    """(mount point, path of this process's group) of each hierarchy with `controller`."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            # a hierarchy of several controllers is mounted under their list, under each name, or both
            named = (root / MOUNT / controller, root / MOUNT / controllers)
            yield next((mount for mount in named if mount.is_dir()), named[0]), path
        elif number == "0" and not controllers:
            yield root / MOUNT, path


def _number(file: Path) -> int | None:
    """The number in the file. None without the file or a limit: `max`, or 2**63 less a page in the legacy hierarchy."""
    try:
        value = int(file.read_text())
    except (OSError, ValueError):
        return None
    return value if value < 2**62 else None


def _statistic(file: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0


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
