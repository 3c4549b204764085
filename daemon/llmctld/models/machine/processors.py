"""How many cores a model may use: those that this process may run on, within the CPU quota of its control groups.

Reads the kernel's files; the engine measures how many cores other programs leave free.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from llmctl.control_groups import groups


def cores(root: Path = Path("/")) -> int:
    """Physical cores, at least one, since hyperthreads share the arithmetic units. A quota of 1.5 processors gives
    two: two threads that pause a quarter of the time do more than one.
    """
    allowed = _allowed()
    if allowed is None:  # not Linux
        return psutil.cpu_count(logical=False) or 1
    number = len({_siblings(root, processor) for processor in allowed})
    return max(1, min([number, *(math.ceil(quota) for quota in _quotas(root))]))


def _allowed() -> set[int] | None:
    """Processors that this process may run on (taskset, cpusets)."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _siblings(root: Path, processor: int) -> str:
    """The processors of the same core, as the kernel lists them; else the processor alone."""
    file = root / f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
    try:
        return file.read_text().strip() or str(processor)
    except OSError:
        return str(processor)


def _quotas(root: Path) -> Iterator[float]:
    """CPU quota in processors of each control group of this process that has one.

    `cpu.max` is "QUOTA PERIOD" or "max PERIOD"; the legacy hierarchy has one file for each, with -1 for no quota.
    """
    for folder in groups(root, "cpu"):
        for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            with suppress(OSError, ValueError):  # a file of the other hierarchy, "max", or the root without a limit
                quota, period = " ".join((folder / name).read_text() for name in names).split()
                if int(quota) > 0 and int(period) > 0:
                    yield int(quota) / int(period)
