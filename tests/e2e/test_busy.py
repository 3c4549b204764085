"""The threads of an engine: how they wait for each other beside other programs, and how many there are."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.house import LLMCTL, House

ONE = ("--no-cache", "--max-tokens", "4", "--temperature", "0", "-q")

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and sets which processors may be used")


def engine(house: House) -> psutil.Process:
    (shown,) = house.ok("ps", "--json").lines
    return psutil.Process(shown["pid"])


@linux
def test_engine_threads_spin_briefly_unless_the_user_sets_otherwise(house: House, tiny: Path) -> None:
    house.ok("models", "add", "tiny", tiny)
    house.ok("ask", "hello", *ONE)
    assert engine(house).environ()["GOMP_SPINCOUNT"] == "1000"
    house.stop()
    house.variables["OMP_WAIT_POLICY"] = "active"
    house.ok("ask", "hello", *ONE)
    found = engine(house).environ()
    assert found["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in found


@linux
def test_a_hub_restricted_to_one_processor_computes_with_one_thread(house: House, tiny: Path) -> None:
    """A second one would wait for the first at every operation."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two processors to take one away")
    house.ok("models", "add", "tiny", tiny)
    house.ok("ask", "hello", *ONE)
    with_all = engine(house).num_threads()
    house.stop()
    only = min(os.sched_getaffinity(0))
    subprocess.run(
        [LLMCTL, "ask", "hello", *ONE], env=house.environ(), check=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, {only}),
    )  # fmt: skip
    assert engine(house).num_threads() < with_all


def test_an_unreadable_engine_step_ms_variable_is_named_in_the_error(house: House, tiny: Path) -> None:
    house.variables["LLMCTL_ENGINE_STEP_MS"] = "eight"
    house.ok("models", "add", "tiny", tiny)
    outcome = house.run("ask", "hello", *ONE)
    assert outcome.status == 4
    assert "LLMCTL_ENGINE_STEP_MS is 'eight'" in outcome.err
