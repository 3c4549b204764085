"""Decides whether llama.cpp must be built with amx_tile_config.h: some compilers drop the tile configuration of its AMX kernels.

It needs only Python's standard library and a compiler, because the Makefile runs it before anything is installed.
`python tile_config.py [CPUINFO]` prints the value of CMAKE_ARGS, or nothing if the header is not needed.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HEADER = Path(__file__).with_name("amx_tile_config.h")
CPUINFO = Path("/proc/cpuinfo")
FLAG = "amx_tile"
CHECK = """
#include <immintrin.h>
struct config {
    unsigned char palette, start_row, reserved[14];
    unsigned short colsb[16];
    unsigned char rows[16];
};
void load(void) {
    alignas(64) config tiles = {};
    tiles.palette = 1;
    for (int tile = 0; tile < 8; tile++) {
        tiles.rows[tile] = ROWS;
        tiles.colsb[tile] = 4 * ROWS;
    }
    _tile_loadconfig(&tiles);
}
"""
"""The same steps as llama.cpp's ggml-cpu/amx/mmq.cpp. If other ROWS give the same machine code, the rows are not stored."""


def has_amx(cpuinfo: Path = CPUINFO) -> bool:
    """Whether this processor has AMX, according to Linux; llama.cpp uses AMX on no other Unix."""
    try:
        return any(FLAG in line.split() for line in cpuinfo.read_text(errors="replace").splitlines() if "flags" in line)
    except OSError:
        return False


def compiler() -> list[str]:
    """The C++ compiler that CMake takes."""
    return shlex.split(os.environ.get("CXX", "")) or ["c++"]


def drops(command: Sequence[str], *more: str) -> bool:
    """Whether the compiler drops the stores to a tile configuration. False if it does not know AMX or cannot be run."""
    one, other = (_assembly([*command, *more, f"-DROWS={rows}"]) for rows in (8, 16))
    return bool(one) and one == other


def _assembly(command: Sequence[str]) -> str:
    options = ["-std=c++17", "-O3", "-mamx-tile", "-x", "c++", "-S", "-", "-o", "-"]
    try:
        done = subprocess.run(
            [*command, *options], input=CHECK, capture_output=True, text=True, check=False, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def cmake_args() -> str:
    """The value of CMAKE_ARGS that forces the header into the build. It repeats CXXFLAGS, which CMAKE_CXX_FLAGS replaces."""
    flags = [os.environ.get("CXXFLAGS", ""), f"-include {shlex.quote(str(HEADER))}"]
    return shlex.quote(f"-DCMAKE_CXX_FLAGS={' '.join(filter(None, flags))}")


def needed(cpuinfo: Path = CPUINFO) -> bool:
    """Whether both hold: the processor has AMX, and the compiler drops the configuration."""
    return has_amx(cpuinfo) and drops(compiler())


def rebuild(version: str, *, header: bool) -> str:
    """The shell command that rebuilds the installed library, without pip's cache, which may hold a wheel without the header."""
    options = "--force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python"
    build = f"{shlex.quote(sys.executable)} -m pip install {options} llama-cpp-python=={version}"
    value = cmake_args()
    readable = f'"{value}"' if not set(value) & set('"$`\\') else shlex.quote(value)
    return f"CMAKE_ARGS={readable} {build}" if header else build


if __name__ == "__main__" and needed(*map(Path, sys.argv[1:2])):
    sys.stdout.write(cmake_args() + "\n")
