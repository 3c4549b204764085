"""Item 1, the checkout: it works from the console script to `make demo`."""

import importlib.metadata
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.house import KEPT, LLMCTL, PATIENCE_S, REPOSITORY, House


def make(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: os.environ[name] for name in KEPT if name in os.environ} | {"HOME": str(home)}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=REPOSITORY, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=4 * PATIENCE_S,
        check=False,
    )  # fmt: skip


def test_the_version_names_client_and_protocol_without_starting_a_hub(house: House) -> None:
    outcome = house.ok("--version")
    assert importlib.metadata.version("llmctl") in outcome.out
    assert "protocol" in outcome.out.lower()
    assert not house.daemons()


def test_demo_without_a_model_prints_an_answer_of_the_built_in_guide(tmp_path: Path) -> None:
    if make("-q", ".venv/.installed", home=tmp_path).returncode != 0:
        pytest.skip("`make install` has something to do here, and a test installs nothing")
    done = make("-s", "demo", "MODEL=", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "llmctl models add" in done.stdout
    assert "\x1b" not in done.stdout
    assert not (tmp_path / ".config").exists(), "the user's own set-up is left alone"


@pytest.mark.parametrize("given", [(), ("PEER=somewhere",), ("MODEL=some.gguf",)])
def test_bench_engine_without_a_peer_or_a_model_says_in_two_lines_what_to_set(
    given: tuple[str, ...], tmp_path: Path
) -> None:
    done = make("-s", "bench-engine", *given, home=tmp_path)
    said = [line for line in done.stderr.splitlines() if not line.startswith("make:")]
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(said) == 2
    assert "PEER=" in said[1]
    assert "MODEL=" in said[1]


def test_demo_prints_only_the_answer(tiny: Path, tmp_path: Path) -> None:
    if make("-q", ".venv/.installed", home=tmp_path).returncode != 0:
        pytest.skip("`make install` has something to do here, and a test installs nothing")
    done = make("-s", "demo", f"MODEL={tiny}", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")
    assert "\x1b" not in done.stdout
    assert "demo" not in done.stdout, "the answer and nothing else"
    assert not (tmp_path / ".config").exists(), "the user's own set-up is left alone"
    again = make("-n", "demo", f"MODEL={tiny}", home=tmp_path)
    assert "install" not in again.stdout, "the second time installs nothing"


def test_the_console_script_is_the_installed_one() -> None:
    assert LLMCTL.exists()
    scripts = importlib.metadata.entry_points(group="console_scripts", name="llmctl")
    assert [script.value for script in scripts] == ["llmctl.__main__:main"]
