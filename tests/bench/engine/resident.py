"""What a process holds of the machine's memory, as Linux counts it.

It knows /proc and nothing of what the process does with it.
"""

from pathlib import Path
from typing import NamedTuple

KIB_PER_MIB = 1024


class Resident(NamedTuple):
    """MiB: of its pages, those that others have too included; and with a share of those only."""

    rss: float
    pss: float


def of_process(pid: int) -> Resident:
    """Raises OSError where there is no such process, or no /proc."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: float(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return Resident(kib["Rss"] / KIB_PER_MIB, kib["Pss"] / KIB_PER_MIB)
