"""How many cores a model may compute on: those that this process may run on, within the quota of its control groups.

It reads the kernel's files; how many of them other programs leave to us, from step to step, is the engine's to find out.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from llmctld.models.machine.machine import groups


def cores(root: Path = Path("/")) -> int:
    """Physical cores, at least one: two threads of one core share what computes. A quota of 1.5 processors gives two,
    since two threads that stand still for a quarter of the time still do more than one."""
    allowed = _allowed()
    if allowed is None:  # no Linux
        return psutil.cpu_count(logical=False) or 1
    number = len({_siblings(root, processor) for processor in allowed})
    return max(1, min([number, *(math.ceil(quota) for quota in _quotas(root))]))


def _allowed() -> set[int] | None:
    """The processors that this process may run on (taskset, cpusets)."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _siblings(root: Path, processor: int) -> str:
    """The processors of the same core, as the kernel lists them; a core of its own where it does not say."""
    file = root / f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
    try:
        return file.read_text().strip() or str(processor)
    except OSError:
        return str(processor)


def _quotas(root: Path) -> Iterator[float]:
    """Processors' worth of time, of each control group with a quota: ours, and those that it lies in.

    `cpu.max` is "QUOTA PERIOD" or "max PERIOD"; the old hierarchy has a file for each, with -1 for none.
    """
    for folder in groups(root, "cpu"):
        for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            with suppress(OSError, ValueError):  # another hierarchy's files, "max", no limit at the root
                quota, period = " ".join((folder / name).read_text() for name in names).split()
                if int(quota) > 0 and int(period) > 0:
                    yield int(quota) / int(period)
