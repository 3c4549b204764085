"""The scripts are fresh, parse, and complete flags and names without Python."""

import shutil
import subprocess
from pathlib import Path

import pytest

from llmctl.cli import main
from llmctl.cli.setup import completion
from tests.e2e.house import REPOSITORY, House

FILES = {"bash": "llmctl.bash", "zsh": "_llmctl", "fish": "llmctl.fish"}


@pytest.mark.parametrize("shell", FILES)
def test_the_files_are_fresh(shell: str, house: House) -> None:
    """`llmctl completion SHELL > completions/FILE` makes it anew."""
    kept = (REPOSITORY / "completions" / FILES[shell]).read_text()
    assert kept == completion.script(shell)
    assert house.ok("completion", shell).out == kept


@pytest.mark.parametrize("shell", FILES)
def test_the_scripts_parse(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n", str(REPOSITORY / "completions" / FILES[shell])], check=True)


def complete(house: House, line: str) -> list[str]:
    script = f"""source {REPOSITORY}/completions/llmctl.bash
PATH=/usr/bin:/bin
COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; _llmctl; printf '%s\\n' "${{COMPREPLY[@]}}" """
    outcome = house.shell(script)
    assert outcome.err == ""
    return outcome.out.split()


@pytest.fixture
def full(house: House) -> House:
    for folder, name in (("models", "gemma:2b.json"), ("models", "llama.json"), ("templates", "brief.yaml")):
        (house.place / folder).mkdir(parents=True, exist_ok=True)
        (house.place / folder / name).write_text("")
    (house.home / "notes.txt").write_text("")
    return house


def test_commands_flags_and_names(full: House) -> None:
    assert set(main.COMMANDS) <= set(complete(full, "llmctl "))
    assert complete(full, "llmctl mod") == ["models"]
    assert complete(full, "llmctl models un") == ["unload"]
    assert complete(full, "llmctl ask --max-") == ["--max-tokens", "--max-age"]
    assert complete(full, "llmctl ask -m ") == ["gemma:2b", "llama"]
    assert complete(full, "llmctl ask hello --model lla") == ["llama"]
    assert complete(full, "llmctl ask -m gemma:2") == ["2b"], "bash takes a colon for the end of a word"
    assert complete(full, "llmctl models --json load ll") == ["llama"]
    assert complete(full, "llmctl chat -t b") == ["brief"]
    assert complete(full, "llmctl ask -f not") == ["notes.txt"]
    assert complete(full, "llmctl ask --reasoning ") == ["show", "hide"]
    assert complete(full, "llmctl ask --seed ") == []
    assert not full.daemons()


def test_names_without_llmctl_home(house: House) -> None:
    user = Path(house.environ()["HOME"])
    (user / ".local/share/llmctl/models").mkdir(parents=True)
    (user / ".local/share/llmctl/models/here.json").write_text("")
    house.variables["LLMCTL_HOME"] = ""
    assert complete(house, "llmctl models show h") == ["here"]
