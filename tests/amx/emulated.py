"""Programs that use AMX on a machine without it: emulator.c compiled, put before a process, and what it counted.

It knows a C compiler and the environment of a process; nothing of llmctl but the header that is tested.
"""

import array
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from llmctld.native import tile_config

HERE = Path(__file__).parent
NAMES = (
    "LDTILECFG", "STTILECFG", "TILERELEASE", "TILEZERO", "TILELOADD", "TILELOADDT1", "TILESTORED",
    "TDPBSSD", "TDPBSUD", "TDPBUSD", "TDPBUUD", "TDPBF16PS",
)  # fmt: skip
"""Instructions in the order in which the emulator counts them."""
AMX = ("-mamx-tile", "-mamx-int8", "-mamx-bf16")
CC = ("gcc", "-std=gnu11", "-O3", "-Wall", "-Wextra", "-Werror")


def missing() -> str:
    """Why nothing can be emulated here; empty where it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "AMX is emulated on x86-64 Linux only"
    if tile_config.has_amx():
        return "this processor has AMX itself: nothing is emulated"
    if shutil.which("gcc") is None:
        return "no gcc here"
    asked = subprocess.run(["gcc", *AMX, "-E", "-x", "c", "/dev/null"], capture_output=True, check=False)
    return "" if asked.returncode == 0 else "this gcc knows no AMX"


def compiled(source: str, target: Path, *options: str) -> Path:
    """A program, or a library, of a file beside this one."""
    subprocess.run([*CC, *options, "-o", str(target), str(HERE / source), "-lm"], check=True)
    return target


class Emulator(NamedTuple):
    """The library, and the file in which it counts."""

    library: Path
    counts: Path

    @property
    def variables(self) -> dict[str, str]:
        """What a process must have in its environment; its children inherit it."""
        return {"LD_PRELOAD": str(self.library), "AMX_COUNTS": str(self.counts)}

    def executed(self) -> dict[str, int]:
        """How often each instruction was executed by all processes so far; those never executed are left out."""
        numbers = array.array("Q", self.counts.read_bytes() if self.counts.exists() else b"")
        return {name: number for name, number in zip(NAMES, numbers, strict=False) if number}


def emulator(folder: Path) -> Emulator:
    return Emulator(compiled("emulator.c", folder / "emulator.so", "-shared", "-fPIC"), folder / "counts")
