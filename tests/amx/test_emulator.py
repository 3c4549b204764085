"""The emulated instructions, and amx_tile_config.h through them: what `make test` can tell of AMX where no processor has it.

A whole llama.cpp is tried by `make test-amx`.
"""

import signal
import subprocess
from pathlib import Path

import pytest
from llmctld.native.tile_config import HEADER, drops

from tests.amx.emulated import AMX, Emulator, compiled, emulator, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
FAULT, ILLEGAL = str(signal.SIGSEGV.value), str(signal.SIGILL.value)
OUTCOMES = {
    # a configuration that LDTILECFG refuses with #GP
    "palette_2": FAULT, "reserved_2": FAULT, "reserved_15": FAULT, "tile_8": FAULT, "last_byte": FAULT, "wide_row": FAULT,
    "wide_row_high_byte": FAULT, "many_rows": FAULT, "rows_without_bytes": FAULT, "bytes_without_rows": FAULT, "good": "right",
    # tiles that are not there, or do not fit: #UD
    "load_unconfigured": ILLEGAL, "zero_unconfigured": ILLEGAL, "after_release": ILLEGAL, "palette_0": ILLEGAL,
    "unused_tile": ILLEGAL, "odd_bytes": ILLEGAL, "start_beyond": ILLEGAL, "same_tile": ILLEGAL, "unfit_rows": ILLEGAL,
    "unfit_bytes": ILLEGAL,
    # instructions that the emulator does not handle
    "no_memory": FAULT, "other_instruction": ILLEGAL, "sent": ILLEGAL, "own_handler": "right", "own_handler_passed": "right",
    # what is computed
    "addresses": "right", "start_row": "right", "dpbssd": "right", "dpbsud": "right", "dpbusd": "right", "dpbuud": "right",
    "dpbf16ps": "right",
}  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    return emulator(tmp_path_factory.mktemp("amx"))


def run(program: Path, here: Emulator) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program], env=here.variables, capture_output=True, text=True, check=False, timeout=60)


def test_each_emulated_instruction_computes_or_faults_like_the_processor(here: Emulator, tmp_path: Path) -> None:
    done = run(compiled("checks.c", tmp_path / "checks", *AMX, "-include", str(HEADER)), here)
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()) == OUTCOMES


def test_with_the_header_the_whole_tile_configuration_is_loaded(here: Emulator, tmp_path: Path) -> None:
    done = run(compiled("product.c", tmp_path / "product", *AMX, "-include", str(HEADER)), here)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["config same", "product right"])


def test_without_the_header_the_program_crashes_exactly_if_the_build_check_says_so(
    here: Emulator, tmp_path: Path
) -> None:
    """The compiler declares only 8 of the 64 bytes as read: GCC does so up to version 14 at least."""
    done = run(compiled("product.c", tmp_path / "product", *AMX), here)
    if drops(["gcc"]):
        assert (done.returncode, done.stdout) == (-signal.SIGSEGV, "")
    else:
        assert (done.returncode, done.stdout.splitlines()) == (0, ["config same", "product right"])
