"""The host's memory, and the control groups that limit this process, as the kernel's files describe them.

Shared by hub and command, which both say what fits; it knows no model.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

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


def host_memory(root: Path = Path("/")) -> int:
    """Bytes of the machine's memory, or of the tightest control group of this process."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *(limit for limit, _ in memory_limits(root))])


def memory_limits(root: Path) -> Iterator[tuple[int, int]]:
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
