"""Documents stay correct: they contain every error, command and setting, and their examples are run."""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
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
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
ALL = "\n".join(TEXTS.values())
FENCE = r"^ *```{} *\n(.*?)^ *```"


def blocks(text: str, kind: str) -> list[str]:
    """The fenced blocks of this kind, `sh run` being those that are marked to be run."""
    return [textwrap.dedent(block) for block in re.findall(FENCE.format(kind), text, flags=re.M | re.S)]


def commands() -> Iterator[str]:
    """Every command of the live table, with its group."""
    root: Any = typer.main.get_command(main.app)
    for name in main.COMMANDS:
        below = getattr(root.get_command(None, name), "commands", {})
        yield from (f"llmctl {name} {sub}" for sub in below) if below else [f"llmctl {name}"]


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_is_in_the_table_of_commands(command: str) -> None:
    table = TEXTS[ROOT / "docs" / "commands.md"]
    assert any(re.search(rf"`{re.escape(command)}\b", line) for line in table.splitlines() if line.startswith("| "))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_no_command_that_does_not_exist(page: Path) -> None:
    known = {*commands(), *(f"llmctl {name}" for name in main.COMMANDS)}
    for found in re.findall(r"`(llmctl [a-z]+(?: [a-z]+)?)", TEXTS[page]):
        assert found in known or found.rpartition(" ")[0] in known, found


def test_every_page_is_in_the_index_and_is_short() -> None:
    index = TEXTS[ROOT / "docs" / "README.md"]
    for page in PAGES:
        assert page.name == "README.md" or f"({page.name})" in index, page
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_shown_but_not_run_use_existing_options(page: Path) -> None:
    """They need a network, a key or a compiler; at least their options are up to date."""
    root: Any = typer.main.get_command(main.app)
    for line in "\n".join(blocks(TEXTS[page], "sh")).splitlines():
        for part in re.findall(r"(?:^|[|;&] *)llmctl ([^|;&]*)", line.partition("  #")[0]):
            words = shlex.split(part)
            command = root.get_command(None, words.pop(0))
            if hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            known = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
            assert {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)} <= known, line


@pytest.mark.parametrize("error", errors.ERRORS.values(), ids=lambda error: error.code)
def test_every_error_has_a_status_a_hint_and_a_line_in_the_docs(error: type[errors.LlmctlError]) -> None:
    rows = [
        line
        for line in TEXTS[ROOT / "docs" / "scripting.md"].splitlines()
        if line.startswith("| ") and f"`{error.code}`" in line
    ]
    assert len(rows) == 1
    statuses = {int(word) for word in rows[0].split("|")[1].replace(",", " ").split()}
    assert error("x").status in statuses
    assert error.default_hint or error is errors.Cancelled
    assert (error.__doc__ or "").strip()


def test_the_documented_error_tree_matches_the_error_classes() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +(\d+)", errors.__doc__ or ""))
    assert {name: int(status) for name, status in drawn.items()} == {
        kind.__name__: kind("x").status for kind in errors.ERRORS.values()
    }


# ---- what is shown is run -------------------------------------------------------------------------------------------


@pytest.fixture
def reader() -> Iterator[House]:
    """A reader who follows the README from the top."""
    with a_reader() as made:
        yield made


@contextmanager
def a_reader() -> Iterator[House]:
    """A home with a model's file and a text."""
    with a_house(LLMCTL_DEFAULTS__MAX_TOKENS="64") as made:
        user = Path(made.environ()["HOME"])
        (user / "models").mkdir()
        tiny_gguf.write(user / "models" / "story.gguf", seed=3, context=2048)
        (made.home / "report.txt").write_text("The bridge is old. The river is high. The money is gone.\n" * 2)
        yield made


def run_all(house: House, found: list[str]) -> None:
    for block in found:
        for line in block.splitlines():
            outcome = house.shell(line)
            assert outcome.status == 0, (line, outcome)
            assert "Traceback" not in outcome.err, line


def test_the_shell_blocks_of_the_readme_run(reader: House) -> None:
    found = blocks(README, "sh run")
    assert len(found) == 7
    run_all(reader, found)


@pytest.fixture(scope="module")
def settled() -> Iterator[House]:
    """The same reader later, with two models: all pages share this one's hub, in any order."""
    with a_reader() as made:
        made.ok("models", "add", "dry", "echo")
        made.ok("models", "add", "story", Path(made.environ()["HOME"]) / "models" / "story.gguf")
        yield made


@pytest.mark.parametrize(
    "page", [page for page in PAGES[1:] if blocks(TEXTS[page], "sh run")], ids=lambda page: page.name
)
def test_the_shell_blocks_of_a_page_run(settled: House, page: Path) -> None:
    run_all(settled, blocks(TEXTS[page], "sh run"))


@pytest.mark.parametrize(
    "page", [page for page in PAGES[1:] if blocks(TEXTS[page], "python run")], ids=lambda page: page.name
)
def test_the_python_block_of_a_page_runs(settled: House, page: Path) -> None:
    for block in blocks(TEXTS[page], "python run"):
        run_python(settled, block)


def run_python(house: House, block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block], env=house.environ(), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_python_block_of_the_readme_runs(reader: House) -> None:
    reader.ok("models", "add", "story", Path(reader.environ()["HOME"]) / "models" / "story.gguf")
    (block,) = blocks(README, "python run")
    run_python(reader, block)


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


def test_links_in_documents_are_valid() -> None:
    for document in [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").glob("*.md"),
        ROOT / "daemon" / "PROTOCOL.md",
    ]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), (document.name, target)


# ---- generated files ------------------------------------------------------------------------------------------------


def test_generated_files_are_up_to_date() -> None:
    assert generate.stale() == []


def test_the_example_configuration_equals_the_defaults() -> None:
    assert config.load(ROOT / "config.example.toml", {}) == config.Config()


def flat(values: dict[str, Any], prefix: str = "") -> set[str]:
    """The dotted names of what a TOML file gives; no setting of ours is a table."""
    inner = [flat(value, f"{prefix}{key}.") for key, value in values.items() if isinstance(value, dict)]
    return {prefix + key for key, value in values.items() if not isinstance(value, dict)}.union(*inner)


def test_the_example_configuration_decodes_with_every_line_uncommented() -> None:
    """Each commented setting exists and has a valid value."""
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
def test_a_completion_script_is_accepted_by_its_shell(shell: str) -> None:
    script = subprocess.run([str(LLMCTL), "completion", shell], capture_output=True, text=True, check=True).stdout
    try:
        done = subprocess.run([shell, "-n", "/dev/stdin"], input=script, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"{shell} is not installed")
    assert done.returncode == 0, done.stderr
    assert os.linesep in script
