"""What this machine has: host memory within the limits of our control groups, and the GPUs that engines can see.

It reads the kernel's files and asks NVIDIA's library; what models may take of it is for residency to decide.
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

from llmctld.watch import log


class HostMemory(NamedTuple):
    """Bytes of host memory: all there is, and what can be taken without pushing anybody out."""

    total: int
    free: int


@dataclass(frozen=True)
class Gpu:
    """A GPU as engines number it (`cuda:INDEX`), and its bytes of memory."""

    index: int
    name: str
    total: int
    free: int


MOUNT = "sys/fs/cgroup"
"""Where control groups are mounted: the unified hierarchy there, each of the old ones in a folder of its own."""


class Tree(NamedTuple):
    """How the files of a hierarchy are named."""

    limits: tuple[str, ...]
    used: str
    reclaimable: str
    """A line of memory.stat: file pages that nobody has looked at lately, which the kernel drops first."""


UNIFIED = Tree(("memory.max", "memory.high"), "memory.current", "inactive_file")
"""https://docs.kernel.org/admin-guide/cgroup-v2.html; above memory.high a process is not ended, but held up."""
LEGACY = Tree(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
"""https://docs.kernel.org/admin-guide/cgroup-v1/memory.html"""


def memory(root: Path = Path("/")) -> HostMemory:
    """Of the machine, or less where a control group of this process, or one above it, sets a limit."""
    found = psutil.virtual_memory()
    total, free = int(found.total), int(found.available)
    for limit, used in _limits(root):
        total, free = min(total, limit), min(free, max(0, limit - used))
    return HostMemory(total, free)


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, bytes used) of each control group that has a limit."""
    for folder in groups(root, "memory"):
        for tree in (UNIFIED, LEGACY):
            given = [limit for name in tree.limits if (limit := _number(folder / name)) is not None]
            if given:
                used = (_number(folder / tree.used) or 0) - _statistic(folder / "memory.stat", tree.reclaimable)
                yield min(given), max(0, used)


def groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the control groups that account for this process: its own, and those that it lies in."""
    for mount, path in _hierarchies(root, controller):
        own = mount / path.lstrip("/")
        # within a container the path may be that of the machine outside: then only the mount itself is ours
        for folder in (own, *own.parents):
            yield folder
            if folder == mount:
                break


def _hierarchies(root: Path, controller: str) -> Iterator[tuple[Path, str]]:
    """Those that account for `controller`: where it is mounted, and the path of this process's group in it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            # several controllers in one are mounted by the list of them, or by each one's name, or both
            named = (root / MOUNT / controller, root / MOUNT / controllers)
            yield next((mount for mount in named if mount.is_dir()), named[0]), path
        elif number == "0" and not controllers:
            yield root / MOUNT, path


def _number(file: Path) -> int | None:
    """None where there is no such file, and no limit: `max`, or the old hierarchy's 2**63 less a page."""
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
    """NVIDIA's, in the order in which engines number them; [] without any, or without a driver that answers."""
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
    """Which of the machine's GPUs CUDA shows, in its order: CUDA_VISIBLE_DEVICES lists numbers or (beginnings of) UUIDs,
    and ends at the first that is not there.

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
    """NVIDIA's library, initialised once for the life of the process."""
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
