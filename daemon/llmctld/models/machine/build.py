"""Identifies the installed build of llama.cpp and the processor, so that known crashes apply to this pair only.

Compares names, sizes and times of files; loads no library.
"""

import hashlib
import os
import platform
import subprocess
from contextlib import suppress
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path

PACKAGE, MODULE = "llama-cpp-python", "llama_cpp"
ELSEWHERE = "LLAMA_CPP_LIB_PATH"
"""Variable with the folder of another build, which the package uses instead of its own."""


def build() -> str:
    """Changes with every build. Computed anew each time, since the library may be rebuilt while the hub runs."""
    lines = [version()]
    for folder in _folders():
        with suppress(OSError):
            for file in sorted(folder.iterdir()):
                found = file.stat()
                lines.append(f"{file} {found.st_size} {found.st_mtime_ns}")
    return _digest("\n".join(lines))


def version() -> str:
    """Version of the package; empty if it is not installed."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return ""


def _folders() -> list[Path]:
    if other := os.environ.get(ELSEWHERE):
        return [Path(other)]
    spec = util.find_spec(MODULE)  # find_spec does not import a top-level package
    return [Path(place) / "lib" for place in (spec.submodule_search_locations if spec else None) or []]


@lru_cache(maxsize=1)
def processor() -> str:
    """Name and flags of the first processor from the system, else from Python."""
    return _digest("\n".join(_lines() or [platform.machine(), platform.processor()]))


def _lines() -> list[str]:
    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0].splitlines()
        return [
            line for line in first if line.partition(":")[0].strip() in ("model name", "flags", "Features", "CPU part")
        ]
    with suppress(OSError):
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.splitlines()
    return []


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
