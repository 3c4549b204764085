"""llama.cpp as it is built for a processor with AMX, on any x86-64 processor: once without our header, and once with it.

`python -m tests.amx.llama_build FOLDER` makes FOLDER/bare and FOLDER/header: the installed libraries, with another libggml-cpu in
each. LLMCTL_LLAMA_CPP names llama.cpp's sources; without it those of the installed version are fetched.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from importlib import metadata, util
from pathlib import Path

from llmctld.native import tile_config

PACKAGE = "llama-cpp-python"
SOURCES = "LLMCTL_LLAMA_CPP"
OPTIONS = ("AVX512", "AVX512_VBMI", "AVX512_VNNI", "AMX_TILE", "AMX_INT8")
"""Of ggml's CMakeLists.txt, beside what it sets by itself: the AMX kernels need all of them."""
NEEDED = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd", "avx512vbmi", "avx512_vnni"}
"""What this processor must execute by itself."""
BUILDS = {"bare": [], "header": shlex.split(tile_config.cmake_args())}
"""Folder -> what CMake is told beside the options."""


def lacking() -> set[str]:
    """Instructions of llama.cpp's AMX kernels that are neither here nor emulated."""
    lines = tile_config.CPUINFO.read_text(errors="replace").splitlines()
    return NEEDED - {flag for line in lines if line.startswith("flags") for flag in line.split()}


def sources(folder: Path) -> Path:
    """llama.cpp's own folder."""
    if named := os.environ.get(SOURCES):
        return Path(named).resolve()
    name = f"{PACKAGE.replace('-', '_')}-{metadata.version(PACKAGE)}"
    archive = folder / f"{name}.tar.gz"
    if not archive.exists():
        wanted = [f"{PACKAGE}=={metadata.version(PACKAGE)}", "--no-deps", "--no-binary", PACKAGE]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "-d", str(folder), *wanted], check=True)
    if not (folder / name).exists():
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    return folder / name / "vendor/llama.cpp"


def build(llama: Path, folder: Path, more: list[str]) -> None:
    """A second time it builds what has changed."""
    there = folder.with_name(f"{folder.name}-build")
    switched = [f"-DGGML_{option}=ON" for option in OPTIONS]
    plain = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DGGML_NATIVE=OFF"]
    without = [f"-DLLAMA_BUILD_{part}=OFF" for part in ("COMMON", "TESTS", "EXAMPLES", "TOOLS", "SERVER")]
    command = ["cmake", "-S", str(llama), "-B", str(there), "-Wno-dev", "--log-level=WARNING"]
    subprocess.run([*command, *plain, *without, *switched, *more], check=True)
    with (there / "warnings").open("wb") as warnings:  # GCC has thousands about its own header
        command = ["cmake", "--build", str(there), "--target", "ggml-cpu", "--parallel", str(os.cpu_count() or 1)]
        subprocess.run(command, check=True, stderr=warnings)
    spec = util.find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(Path(spec.origin).parent / "lib", folder)
    (built,) = {path.resolve() for path in there.rglob("libggml-cpu.so*") if path.is_file()}
    for path in folder.glob("libggml-cpu.so*"):
        path.unlink()
        shutil.copy(built, path)


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    llama = sources(folder)
    for name, more in BUILDS.items():
        build(llama, folder / name, more)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
