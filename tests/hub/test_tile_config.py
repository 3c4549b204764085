"""The header that preserves AMX tile configurations: when the build uses it, and that it works."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from llmctld.native import tile_config

INTEL = "processor\t: 0\nflags\t\t: fpu sse amx_bf16 amx_tile amx_int8\n"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def cxx() -> list[str]:
    """A compiler that supports AMX and drops the tile configuration, as GCC does up to 14 at least."""
    if shutil.which("g++") is None or not tile_config.drops(["g++"]):
        pytest.skip("no g++ here that drops tile configurations")
    return ["g++"]


def test_with_the_header_the_compiler_keeps_the_tile_configuration(cxx: list[str]) -> None:
    assert not tile_config.drops(cxx, "-include", str(tile_config.HEADER))


def test_without_a_compiler_that_knows_amx_no_defect_is_reported() -> None:
    assert not tile_config.drops(["no-such-compiler"])
    assert not tile_config.drops(["false"])


def test_only_a_processor_with_amx_needs_the_header(cxx: list[str], tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(INTEL)
    assert tile_config.needed(cpuinfo)
    cpuinfo.write_text(INTEL.replace("amx_tile", ""))
    assert not tile_config.needed(cpuinfo)
    assert not tile_config.needed(tmp_path / "none")


def make(folder: Path, cpuinfo: Path, **variables: str) -> list[str]:
    """The pip calls of `make`, each with its CMAKE_ARGS, in a folder where nothing is installed."""
    pip = folder / "pip"
    pip.write_text('#!/bin/sh\necho "${CMAKE_ARGS-unset}|$@" >>"$(dirname "$0")/calls"\n')
    pip.chmod(0o755)
    (folder / "calls").write_text("")
    done = subprocess.run(
        ["make", "-s", f"PIP={pip}", f"CPUINFO={cpuinfo}", "install"], cwd=folder, capture_output=True, text=True,
        check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / ".venv/.installed").unlink()
    return (folder / "calls").read_text().splitlines()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_builds_with_the_header_once_unless_cmake_args_is_set(cxx: list[str], tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    (tmp_path / "daemon").symlink_to(REPOSITORY / "daemon")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(INTEL)
    assert [call.split("|")[0] for call in make(tmp_path, cpuinfo, CMAKE_ARGS="-DGGML_CUDA=ON")] == ["-DGGML_CUDA=ON"]
    library, everything = make(tmp_path, cpuinfo)
    settings, options = library.split("|")
    assert shlex.split(settings) == [f"-DCMAKE_CXX_FLAGS=-include {tmp_path}/daemon/llmctld/native/amx_tile_config.h"]
    assert "--no-cache-dir" in options, "a wheel that was built without it must not be taken"
    assert "llama-cpp-python" in options
    assert everything.startswith("unset|")
    assert len(make(tmp_path, cpuinfo)) == 1, "it is built so already"


def test_the_rebuild_command_can_be_pasted_into_a_shell() -> None:
    words = shlex.split(tile_config.rebuild("0.3.36", header=True))
    assert words[0] == f"CMAKE_ARGS={tile_config.cmake_args()}"
    assert words[1:4] == [sys.executable, "-m", "pip"]
    assert words[-1] == "llama-cpp-python==0.3.36"
    assert tile_config.HEADER.is_file()
