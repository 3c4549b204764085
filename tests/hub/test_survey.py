"""The survey of the machine: when it measures, what it makes of the measurements, and what it leaves when it cannot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from llmctld.engine.llama.internals.bandwidth import Pass, cost
from llmctld.models.running.load_plan import MemorySize
from llmctld.survey import __main__ as survey
from llmctld.survey.__main__ import DeviceBandwidth

from llmctl.paths import find_paths
from llmctl.suggestions import read_bandwidth

HOST, GPU = DeviceBandwidth("host", 20e9, row_s=9e-9), DeviceBandwidth("gpu", 900e9)


class Counted:
    """Takes the place of the measuring process."""

    def __init__(self, *lines: DeviceBandwidth) -> None:
        self.lines, self.calls = list(lines), 0

    def __call__(self) -> list[DeviceBandwidth]:
        self.calls += 1
        return self.lines


def test_it_measures_once_for_a_machine_and_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = find_paths({"LLMCTL_HOME": str(tmp_path)})
    measure = Counted(HOST, GPU)
    monkeypatch.setattr(survey, "measure", measure)
    first = survey.bandwidth(paths, again=False)
    assert first is not None
    assert (first.host, first.gpu, first.row_s) == (20e9, 900e9, 9e-9)
    assert survey.bandwidth(paths, again=False) == first == read_bandwidth(paths.bandwidth)
    assert measure.calls == 1
    survey.bandwidth(paths, again=True)
    monkeypatch.setattr(survey, "build", lambda: "another")
    survey.bandwidth(paths, again=False)
    monkeypatch.setattr(survey, "cores", lambda: 99)
    survey.bandwidth(paths, again=False)
    assert measure.calls == 4


def test_a_gpu_in_host_memory_gives_the_rate_of_host_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = find_paths({"LLMCTL_HOME": str(tmp_path)})
    monkeypatch.setattr(survey, "measure", Counted(HOST, DeviceBandwidth("gpu", 300e9, shared=True)))
    found = survey.bandwidth(paths, again=False)
    assert found is not None
    assert (found.host, found.gpu) == (300e9, None)


def test_gpus_count_only_where_this_build_of_llama_cpp_uses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = find_paths({"LLMCTL_HOME": str(tmp_path)})
    monkeypatch.setattr(survey, "limit_of", lambda limits: MemorySize(7, 9))
    for lines, gpu in (([HOST, GPU], 9), ([HOST], 0), ([], 0)):
        monkeypatch.setattr(survey, "measure", Counted(*lines))
        assert survey.survey(paths, again=True)[:2] == (7, gpu)


def test_without_a_measurement_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = find_paths({"LLMCTL_HOME": str(tmp_path)})
    monkeypatch.setattr(survey, "measure", Counted())
    found = survey.survey(paths, again=False)
    assert (found.host_rate, found.gpu_rate, found.measured) == (None, None, None)
    assert found.host > 0
    assert not paths.state.exists()


def test_a_measuring_process_that_crashes_half_way_has_told_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        'import os; print(\'{"where": "host", "rate": 5e9, "shared": false}\', flush=True); print(\'{"wh\'); os.abort()'
    )
    monkeypatch.setattr(survey, "module", lambda *arguments: [sys.executable, "-c", script])
    assert survey.measure() == [DeviceBandwidth("host", 5e9)]


def test_the_measurement_multiplies_real_matrices() -> None:
    command = [sys.executable, "-m", "llmctld.engine.llama.internals.bandwidth", "1", str(2**20)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    line = json.loads(done.stdout.splitlines()[0])
    assert (line["where"], line["shared"]) == ("host", False)
    assert 1e6 < line["rate"] < 1e13
    assert 0 <= line["row_s"] < 1e-3


@pytest.mark.parametrize(
    ("short_ms", "rate", "row_ns"),
    [(8.0, 50e9, 5.0), (5.0, 250e6 / 5.5e-3, 0.0), (60.0, 250e6 / 4.125e-3, 13.75)],
    ids=["rows cost time", "noise: short rows are faster", "noise: short rows are very slow"],
)
def test_bandwidth_and_time_per_row_explain_both_passes(short_ms: float, rate: float, row_ns: float) -> None:
    found = cost(Pass(250_000_000, 100_000, 5.5e-3), Pass(250_000_000, 600_000, short_ms * 1e-3))
    assert found.rate == pytest.approx(rate)
    assert found.row_s * 1e9 == pytest.approx(row_ns)
