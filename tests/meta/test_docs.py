"""Documents that cannot lie: every error, command and setting stands in them, and what they show is run."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from llmctl import config, errors
from llmctl.cli import main
from tests import tiny_gguf
from tests.e2e.house import LLMCTL, PATIENCE_S, House
from tests.e2e.house import house as a_house
from tests.meta import generate

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """The fenced blocks of README.md that are marked to be run."""
    return re.findall(rf"^```{kind} run\n(.*?)^```", README, flags=re.M | re.S)


def commands() -> Iterator[str]:
    """Every command of the live table, with its group."""
    root: Any = typer.main.get_command(main.app)
    for name in main.COMMANDS:
        below = getattr(root.get_command(None, name), "commands", {})
        yield from (f"llmctl {name} {sub}" for sub in below) if below else [f"llmctl {name}"]


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_stands_in_the_readme(command: str) -> None:
    assert re.search(rf"`{re.escape(command)}\b", README)


def test_the_readme_names_no_command_that_is_not_there() -> None:
    known = {*commands(), *(f"llmctl {name}" for name in main.COMMANDS)}
    for found in re.findall(r"`(llmctl [a-z]+(?: [a-z]+)?)", README):
        assert found in known or found.rpartition(" ")[0] in known, found


@pytest.mark.parametrize("error", errors.ERRORS.values(), ids=lambda error: error.code)
def test_every_error_has_a_status_a_hint_and_a_line_in_the_readme(error: type[errors.LlmctlError]) -> None:
    rows = [line for line in README.splitlines() if line.startswith("| ") and f"`{error.code}`" in line]
    assert len(rows) == 1
    statuses = {int(word) for word in rows[0].split("|")[1].replace(",", " ").split()}
    assert error("x").status in statuses
    assert error.default_hint or error is errors.Cancelled
    assert (error.__doc__ or "").strip()


def test_the_tree_that_is_drawn_is_the_tree_that_is() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +(\d+)", errors.__doc__ or ""))
    assert {name: int(status) for name, status in drawn.items()} == {
        kind.__name__: kind("x").status for kind in errors.ERRORS.values()
    }


# ---- what is shown is run -------------------------------------------------------------------------------------------


@pytest.fixture
def reader() -> Iterator[House]:
    """Somebody who follows the README from the top, with a model and a text at hand."""
    with a_house(LLMCTL_DEFAULTS__MAX_TOKENS="64") as made:
        user = Path(made.environ()["HOME"])
        (user / "models").mkdir()
        tiny_gguf.write(user / "models" / "story.gguf", seed=3, context=2048)
        (made.home / "report.txt").write_text("The bridge is old. The river is high. The money is gone.\n" * 2)
        yield made


def test_the_shell_blocks_of_the_readme_run(reader: House) -> None:
    found = blocks("sh")
    assert len(found) >= 3
    for block in found:
        for line in block.splitlines():
            outcome = reader.shell(line)
            assert outcome.status == 0, (line, outcome)
            assert "Traceback" not in outcome.err, line


def test_the_python_block_of_the_readme_runs(reader: House) -> None:
    reader.ok("models", "add", "story", Path(reader.environ()["HOME"]) / "models" / "story.gguf")
    (block,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block], env=reader.environ(), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_command_that_the_architecture_shows_runs(reader: House) -> None:
    reader.ok("models", "add", "story", Path(reader.environ()["HOME"]) / "models" / "story.gguf")
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").rpartition("## The ten systems")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")][
        1:
    ]
    assert len(rows) == 10
    for system, room, stands, seen in rows:
        assert stands in {"now", "in part", "later"}, system
        assert (stands == "later") == (seen == ""), system
        if stands == "now":
            folder = re.match(r"`([\w/]+)`", room)
            assert folder
            assert (ROOT / "daemon" / "llmctld" / folder[1]).is_dir()
        for command in re.findall(r"`([^`]+)`", seen):
            outcome = reader.shell(command)
            assert outcome.status == 0, (command, outcome)


def test_links_lead_somewhere() -> None:
    for document in [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").glob("*.md"),
        ROOT / "daemon" / "PROTOCOL.md",
    ]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), (document.name, target)


# ---- generated files ------------------------------------------------------------------------------------------------


def test_generated_files_are_fresh() -> None:
    assert generate.stale() == []


def test_the_example_configuration_is_the_defaults() -> None:
    assert config.load(ROOT / "config.example.toml", {}) == config.Config()


def flat(values: dict[str, Any], prefix: str = "") -> set[str]:
    """The dotted names of what a TOML file gives; no setting of ours is a table."""
    inner = [flat(value, f"{prefix}{key}.") for key, value in values.items() if isinstance(value, dict)]
    return {prefix + key for key, value in values.items() if not isinstance(value, dict)}.union(*inner)


def test_the_example_configuration_decodes_with_every_line_switched_on() -> None:
    """Each commented setting is a real one with a value that is taken: no key in it is out of date."""
    import tomli

    text = (ROOT / "config.example.toml").read_text(encoding="utf-8")
    on = re.sub(r"^# (\[?[a-z_.NAME]+\]?(?: = .*)?)$", r"\1", text, flags=re.M)
    lines = [line for line in on.splitlines() if re.match(r"\[|[a-z_]+ = ", line)]
    values = tomli.loads("\n".join(lines))
    found = config.decode(config.Config, values, "config.example.toml")
    named = flat({name: section for name, section in values.items() if name != "models"})
    assert named == {f"{name}.{key}" for name, section in config.sections(found) for key in config.keys(section)}
    assert set(values["models"]["NAME"]) == set(config.ModelSettings.__struct_fields__)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_understood_by_its_shell(shell: str) -> None:
    script = subprocess.run([str(LLMCTL), "completion", shell], capture_output=True, text=True, check=True).stdout
    try:
        done = subprocess.run([shell, "-n", "/dev/stdin"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"{shell} is not installed")
    assert done.returncode == 0, done.stderr
    assert os.linesep in script
