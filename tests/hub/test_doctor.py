"""`daemon doctor`: a library without AMX on a processor that has it; and processes whose reader goes away."""

import subprocess
import sys
from pathlib import Path

import pytest
from llmctld.doctor import __main__ as doctor
from llmctld.doctor import kernels
from llmctld.native import tile_config

from llmctl.paths import find_paths

WITH = "CPU : SSE3 = 1 | AVX512_VNNI = 1 | AMX_INT8 = 1 | REPACK = 1 | \n"
WITHOUT = WITH.replace("AMX_INT8 = 1 | ", "")


@pytest.mark.parametrize(
    ("processor", "built", "warns"),
    [(True, WITHOUT, True), (True, WITH, False), (False, WITHOUT, False), (True, "", False)],
)
def test_a_build_without_amx_on_a_processor_that_has_it_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, processor: bool, built: str, warns: bool
) -> None:
    monkeypatch.setattr(kernels, "has_amx", lambda: processor)
    monkeypatch.setattr(kernels, "needed", lambda: True)
    monkeypatch.setattr(kernels, "features", lambda: built)
    monkeypatch.setattr(kernels, "outcomes", lambda: iter([kernels.KernelResult(kernels.PLAIN, "F16", "good")]))
    found = {check.check: check for check in doctor.special(find_paths({"LLMCTL_HOME": str(tmp_path)}))}
    assert ("kernels AMX" in found) is warns
    if warns:
        assert found["kernels AMX"].state == "warn"
        assert "was built without AMX, which this processor has" in found["kernels AMX"].detail
        assert "1.5 to 2.8 times as long" in found["kernels AMX"].detail
        assert "--no-binary llama-cpp-python" in found["kernels AMX"].hint
        assert str(tile_config.HEADER) in found["kernels AMX"].hint


def test_the_library_says_what_it_was_built_with() -> None:
    assert kernels.features().startswith("CPU : ")


@pytest.mark.parametrize("module", ["llmctld.replay", "llmctld.doctor", "llmctld.survey"])
def test_a_process_whose_reader_goes_away_ends_quietly(tmp_path: Path, module: str) -> None:
    arguments = [str(tmp_path / "trace")] if module == "llmctld.replay" else []
    (tmp_path / "trace").write_text('{"key": "a", "bytes": 900, "seconds": 2.5}\n')
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        env={"LLMCTL_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # before it has printed anything
        assert process.stderr.read() == b""
    assert process.returncode == 0
