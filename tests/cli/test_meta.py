"""What must hold for every command: help, the flags that all have, and what none may import."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import typer

from llmctl.cli import main
from tests.client.conftest import MakeFake
from tests.e2e.house import LLMCTL, House

ROOT: Any = typer.main.get_command(main.app)
SLOW = {"asyncio", "numpy", "torch", "llama_cpp", "llmctld", "pydantic", "structlog", "httpx", "httpx2", "sqlite3",
        "rich.markdown", "jinja2", "psutil", "faiss", "diskcache", "rich.console"}  # fmt: skip


def commands() -> Iterator[tuple[str, Any]]:
    for name in main.COMMANDS:
        command = ROOT.get_command(None, name)
        yield name, command
        for sub, inner in getattr(command, "commands", {}).items():
            yield f"{name} {sub}", inner


EVERY = dict(commands())


@pytest.mark.parametrize("path", EVERY)
def test_every_command_has_help_and_the_common_flags(path: str) -> None:
    command = EVERY[path]
    assert command.help
    flags = {flag for param in command.params for flag in param.opts}
    if not hasattr(command, "commands") and path != "completion":
        assert {"--json", "--quiet", "-q"} <= flags
    for param in command.params:
        assert param.help, (path, param.name)


@pytest.mark.parametrize("path", [path for path, command in EVERY.items() if not hasattr(command, "commands")])
def test_usage_names_arguments_without_braces(path: str) -> None:
    command = EVERY[path]
    with command.make_context(f"llmctl {path}", [], resilient_parsing=True) as context:
        assert "{" not in command.get_usage(context)


@pytest.mark.parametrize("path", [path for path, command in EVERY.items() if hasattr(command, "commands")])
def test_help_of_a_group_at_80_columns_cuts_no_sentence(house: House, path: str) -> None:
    lines = house.ok(*path.split(), "--help", COLUMNS="80").out.splitlines()
    assert [line for line in lines[1:] if line.endswith("...")] == []


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_table_of_commands_has_the_help_of_each_command(name: str) -> None:
    command = ROOT.get_command(None, name)
    assert (command.help or "").splitlines()[0].startswith(main.COMMANDS[name].rstrip("."))


SECTIONS = {
    "Input": {"--system", "--template", "--param", "--file", "--raw", "--overflow", "--save", "--no-stdin"},
    "Conversation": {"--continue", "--conversation"},
    "Model, routing and limits": {
        "--model", "--adapter", "--keep-alive", "--priority", "--timeout", "--max-cost", "--user", "--tag",
    },
    "Sampling": {
        "--max-tokens", "--temperature", "--top-p", "--top-k", "--min-p", "--repeat-penalty", "--presence-penalty",
        "--frequency-penalty", "--logit-bias", "--seed", "--stop", "--n", "--repro",
    },
    "Output": {
        "--schema", "--grammar", "--extract", "--xl", "--think", "--reasoning", "--logprobs", "--explain", "--no-stream",
    },
    "Cache": {"--cache", "--no-cache", "--refresh", "--cache-only", "--semantic", "--max-age"},
    "Common options": {"--json", "--quiet", "--help"},
}  # fmt: skip


def sections(text: str) -> dict[str, list[str]]:
    """Heading -> its lines."""
    parts = re.split(r"^([A-Z][\w, ]+):\n", text, flags=re.M)
    return {heading: body.rstrip().splitlines() for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("columns", [80, 120])
def test_ask_help_groups_its_options_and_ends_with_four_examples(house: House, columns: int) -> None:
    outcome = house.ok("ask", "--help", COLUMNS=str(columns))
    found = sections(outcome.out)
    assert list(found) == ["Arguments", *SECTIONS, "Examples"]
    for heading, options in SECTIONS.items():
        named = [re.match(r"  (?:-\w, )?(--[\w-]+)", line) for line in found[heading]]
        assert {match[1] for match in named if match} == options
    assert len(found["Examples"]) == 4
    assert all("llmctl ask" in line for line in found["Examples"])
    assert max(map(len, outcome.out.splitlines())) <= columns


BIG = ["ask", "chat", "embed", "pull", "models add"]


@pytest.mark.parametrize("path", BIG)
def test_big_commands_end_with_four_examples_of_real_options(house: House, path: str) -> None:
    lines = sections(house.ok(*path.split(), "--help").out)["Examples"]
    assert len(lines) == 4
    known = {flag for param in EVERY[path].params for flag in param.opts}
    for line in lines:
        _, called, rest = line.partition(f"llmctl {path}")
        assert called
        assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", re.sub(r"'[^']*'|\"[^\"]*\"", "", rest))) <= known


def test_help_is_printed_without_importing_the_commands(house: House) -> None:
    outcome = house.ok("--help")
    for name, words in main.COMMANDS.items():
        assert f"{name} " in outcome.out
        assert words in outcome.out
    code = "import sys\nfrom llmctl.cli import main\nmain.run(['--help'])\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "llmctl.cli.main" in done.stderr.split()
    assert not set(main.MODULES.values()) & set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments", [["ask", "x"], ["--help"], ["--version"], ["ps"], ["models", "ls"], ["cache", "stats"]]
)
def test_nothing_slow_is_imported(house: House, fake: MakeFake, arguments: list[str]) -> None:
    fake()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(LLMCTL), *arguments],
        env=house.environ(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "llmctl.cli.main" in imported
    assert not imported & SLOW
    if arguments[0] == "ask":
        assert not imported & {"yaml", "tomli", "rich", "platformdirs", "readline", "llmctl.cli.console.show"}


def test_each_command_of_the_table_has_a_file() -> None:
    for name in main.COMMANDS:
        assert import_module(main.MODULES[name]).app
