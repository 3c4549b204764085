"""The machine's memory and GPUs: control group files as kernels write them, and the order of GPUs."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from llmctld.models.machine import machine
from llmctld.models.machine.machine import gpus, memory, visible

GIB = 2**30
TOTAL = psutil.virtual_memory().total
NONE = 9223372036854771712
"""What the old hierarchy says where there is no limit."""


def a_machine(root: Path, groups: str, **files: object) -> Path:
    """`files` maps paths below sys/fs/cgroup, with __ for /, to their content."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        file = root / "sys/fs/cgroup" / name.replace("__", "/").replace("DOT", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


def test_memory_without_control_groups_is_the_machines(tmp_path: Path) -> None:
    found = memory(tmp_path)
    assert found.total == TOTAL
    assert 0 < found.free <= TOTAL


def test_cgroup_v2_limit_minus_unreclaimable_usage_is_free(tmp_path: Path) -> None:
    root = a_machine(
        tmp_path, "0::/user/job\n",
        user__job__memoryDOTmax=GIB, user__job__memoryDOTcurrent=GIB // 2,
        user__job__memoryDOTstat=f"anon 1\ninactive_file {GIB // 4}\nactive_file 7",
    )  # fmt: skip
    assert memory(root) == (GIB, GIB - GIB // 4)


def test_tightest_parent_group_counts(tmp_path: Path) -> None:
    root = a_machine(
        tmp_path, "0::/a/b/c\n",
        a__b__c__memoryDOTmax="max", a__b__c__memoryDOTcurrent=5,
        a__b__memoryDOTmax=GIB, a__b__memoryDOTcurrent=10,
        a__memoryDOTmax=2 * GIB, a__memoryDOTcurrent=2 * GIB - 7,
    )  # fmt: skip
    assert memory(root) == (GIB, 7), "the total comes from one group and the free memory from another"


def test_memory_high_counts_as_a_limit(tmp_path: Path) -> None:
    root = a_machine(tmp_path, "0::/a\n", a__memoryDOTmax=2 * GIB, a__memoryDOThigh=GIB, a__memoryDOTcurrent=GIB + 1)
    assert memory(root) == (GIB, 0)


def test_container_limit_is_read_from_the_mount_root(tmp_path: Path) -> None:
    root = a_machine(tmp_path, "0::/docker/1234\n", memoryDOTmax=GIB, memoryDOTcurrent=GIB // 2)
    assert memory(root) == (GIB, GIB // 2)


def test_cgroup_v1_limit_is_read(tmp_path: Path) -> None:
    root = a_machine(
        tmp_path, "9:name=systemd:/\n4:cpu,memory:/job\n0::/\n",
        memory__job__memoryDOTlimit_in_bytes=GIB, memory__job__memoryDOTusage_in_bytes=1000,
        memory__job__memoryDOTstat="inactive_file 5\ntotal_inactive_file 600",
        memory__memoryDOTlimit_in_bytes=NONE, memory__memoryDOTusage_in_bytes=TOTAL,
    )  # fmt: skip
    assert memory(root) == (GIB, GIB - 400)


@pytest.mark.parametrize("limit", ["max", NONE, "", "what?", 2 * TOTAL])
def test_missing_or_oversized_limit_is_ignored(tmp_path: Path, limit: object) -> None:
    assert memory(a_machine(tmp_path, "0::/\n", memoryDOTmax=limit, memoryDOTcurrent=1)).total == TOTAL


def test_memory_of_this_machine_is_readable() -> None:
    total, free = memory()
    assert 0 <= free <= total <= TOTAL


@pytest.mark.parametrize(
    ("wanted", "found"),
    [(None, [0, 1, 2]), ("", []), ("2,0", [2, 0]), ("1", [1]), ("0,9,1", [0]), ("-1", []), ("GPU-b", [1]),
     ("GPU-cc, 0", [2, 0]), ("GPU-", []), ("1,1", [1])],
)  # fmt: skip
def test_cuda_visible_devices_selects_the_gpus(wanted: str | None, found: list[int]) -> None:
    environ = {} if wanted is None else {"CUDA_VISIBLE_DEVICES": wanted}
    assert visible(["GPU-aa", "GPU-bb", "GPU-cc"], environ) == found


def test_gpus_match_those_listed_by_the_driver() -> None:
    """[] on a machine without GPUs: the error of NVML is caught."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        listed = []
    found = gpus({})
    assert len(found) == len(listed)
    assert all(0 <= gpu.free <= gpu.total for gpu in found)
    assert [gpu.index for gpu in found] == list(range(len(found)))


def test_nvml_is_not_imported_before_use() -> None:
    script = "import sys, llmctld.models.machine.machine; sys.exit('pynvml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_nvml_is_initialised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine.gpus({})
    before = machine._nvml.cache_info().misses
    machine.gpus({})
    assert machine._nvml.cache_info().misses == before
