"""How many cores a model may use: the affinity of this process, and cgroup quotas as kernels write them."""

import os
from pathlib import Path

import pytest
from llmctld.models.machine.environment import for_engine
from llmctld.models.machine.processors import cores
from llmctld.models.running import loading

from llmctl.config import Config
from tests.hub.scene import a_catalog
from tests.hub.test_machine import a_machine


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may run on eight processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def siblings(root: Path, *cores_: str) -> None:
    """The kernel's lists of the processors of each core."""
    for listed in cores_:
        for processor in listed.split(","):
            file = root / f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
            file.parent.mkdir(parents=True)
            file.write_text(listed + "\n")


def test_this_machine_has_between_one_and_cpu_count_cores() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.usefixtures("eight")
def test_two_hardware_threads_of_a_core_count_once(tmp_path: Path) -> None:
    siblings(tmp_path, "0,4", "1,5", "2,6", "3,7")
    assert cores(tmp_path) == 4


@pytest.mark.usefixtures("eight")
def test_a_core_with_one_allowed_thread_counts_fully(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    siblings(tmp_path, "0,4", "1,5", "2,6", "3,7")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 6})
    assert cores(tmp_path) == 2


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/job\n", {"job__cpuDOTmax": "100000 100000"}, 1),
        ("0::/job\n", {"job__cpuDOTmax": "150000 100000"}, 2),
        ("0::/job\n", {"job__cpuDOTmax": "20000 100000"}, 1),
        ("0::/job\n", {"job__cpuDOTmax": "max 100000"}, 8),
        ("0::/job\n", {"job__cpuDOTmax": "6400000 100000"}, 8),
        ("0::/pod/box\n", {"pod__box__cpuDOTmax": "max 100000", "pod__cpuDOTmax": "300000 100000"}, 3),
        ("0::/docker/1234\n", {"cpuDOTmax": "200000 100000"}, 2),
        ("4:cpu,cpuacct:/job\n0::/\n",
         {"cpu,cpuacct__job__cpuDOTcfs_quota_us": "250000", "cpu,cpuacct__job__cpuDOTcfs_period_us": "100000"}, 3),
        ("4:cpu,cpuacct:/\n0::/\n", {"cpu__cpuDOTcfs_quota_us": "50000", "cpu__cpuDOTcfs_period_us": "100000"}, 1),
        ("4:cpu:/\n0::/\n", {"cpu__cpuDOTcfs_quota_us": "-1", "cpu__cpuDOTcfs_period_us": "100000"}, 8),
        ("0::/job\n", {"job__cpuDOTmax": "what?"}, 8),
        ("0::/job\n", {}, 8),
    ],
)  # fmt: skip
def test_cores_are_limited_by_cgroup_quotas(tmp_path: Path, groups: str, files: dict[str, str], expected: int) -> None:
    assert cores(a_machine(tmp_path, groups, **files)) == expected


def test_openmp_spin_count_is_set_unless_the_user_set_a_wait_policy() -> None:
    assert for_engine({"A": "b"}) == {"A": "b", "GOMP_SPINCOUNT": "1000"}
    for said in ({"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}):
        assert for_engine(said) == said


@pytest.mark.parametrize(("set_", "expected"), [({}, (5, True)), ({"threads": "9"}, (9, False))])
def test_thread_counts_set_by_the_user_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_: dict[str, str], expected: tuple[int, bool]
) -> None:
    monkeypatch.setattr(loading, "cores", lambda: 5)
    catalog = a_catalog(tmp_path, e=set_)
    load = loading.load_of(catalog.find("e"), catalog, Config(), tmp_path, 0)
    assert (load.threads, load.fewer_threads) == expected
