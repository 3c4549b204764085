"""Whether llama.cpp is to be built with amx_tile_config.h, and how: some compilers drop what its AMX kernels depend on.

It needs nothing but a compiler and the standard library, since it is asked before anything is installed. It builds nothing.
`python tile_config.py [CPUINFO]` prints the value of CMAKE_ARGS, or nothing where the header is not needed.
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
"""What llama.cpp does (ggml-cpu/amx/mmq.cpp). Where the numbers make no difference to the machine code, they are not stored."""


def has_amx(cpuinfo: Path = CPUINFO) -> bool:
    """Whether this processor has the instructions, as Linux tells it; no other system's kernel lets llama.cpp use them."""
    try:
        return any(FLAG in line.split() for line in cpuinfo.read_text(errors="replace").splitlines() if "flags" in line)
    except OSError:
        return False


def compiler() -> list[str]:
    """As CMake chooses it."""
    return shlex.split(os.environ.get("CXX", "")) or ["c++"]


def drops(command: Sequence[str], *more: str) -> bool:
    """Whether this compiler drops the stores of a tile configuration; False where it knows no AMX, or cannot be run."""
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
    """The value of CMAKE_ARGS that forces the header into the build, beside the user's own flags, which it would replace."""
    flags = [os.environ.get("CXXFLAGS", ""), f"-include {shlex.quote(str(HEADER))}"]
    return shlex.quote(f"-DCMAKE_CXX_FLAGS={' '.join(filter(None, flags))}")


def needed(cpuinfo: Path = CPUINFO) -> bool:
    """Only where it can be of use, and was seen to be."""
    return has_amx(cpuinfo) and drops(compiler())


def rebuild(version: str, *, header: bool) -> str:
    """A line of shell that builds an installed library anew; pip's cache of wheels may hold one without the header."""
    options = "--force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python"
    build = f"{shlex.quote(sys.executable)} -m pip install {options} llama-cpp-python=={version}"
    value = cmake_args()
    readable = f'"{value}"' if not set(value) & set('"$`\\') else shlex.quote(value)
    return f"CMAKE_ARGS={readable} {build}" if header else build


if __name__ == "__main__" and needed(*map(Path, sys.argv[1:2])):
    sys.stdout.write(cmake_args() + "\n")
