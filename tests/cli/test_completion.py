"""The scripts are fresh, parse, and complete flags and names without Python; no shell runs a name."""

import shutil
import subprocess
from pathlib import Path

import pytest

from llmctl.cli import main
from llmctl.cli.setup import completion
from tests.cli.typed import FILES, Shell
from tests.e2e.house import REPOSITORY, House


@pytest.mark.parametrize("shell", FILES)
def test_the_files_are_fresh(shell: str, house: House) -> None:
    """`llmctl completion SHELL > completions/FILE` makes it anew."""
    kept = (REPOSITORY / "completions" / FILES[shell]).read_text()
    assert kept == completion.script(shell)
    assert house.ok("completion", shell).out == kept


@pytest.mark.parametrize("shell", FILES)
def test_the_scripts_parse(shell: str) -> None:
    needs(shell)
    subprocess.run([shell, "-n", str(REPOSITORY / "completions" / FILES[shell])], check=True)


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")


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
    assert complete(full, "llmctl ask --max-") == ["--max-cost", "--max-tokens", "--max-age"]
    assert complete(full, "llmctl ask -m ") == ["gemma:2b", "llama"]
    assert complete(full, "llmctl ask hello --model lla") == ["llama"]
    assert complete(full, "llmctl ask -m gemma:2") == ["2b"], "bash takes a colon for the end of a word"
    assert complete(full, "llmctl models --json load ll") == ["llama"]
    assert complete(full, "llmctl models set ll") == complete(full, "llmctl models pin ll") == ["llama"]
    assert complete(full, "llmctl ask --priority b") == ["batch"]
    assert complete(full, "llmctl chat -t b") == ["brief"]
    assert complete(full, "llmctl ask --reasoning ") == ["show", "hide"]
    assert complete(full, "llmctl models suggest --for ") == ["chat", "code", "embed", "tools"]
    assert complete(full, "llmctl models suggest --for em") == ["embed"]
    assert complete(full, "llmctl ask --seed ") == []
    assert not full.daemons()


def test_the_guide_is_offered_while_no_model_was_added(house: House) -> None:
    assert complete(house, "llmctl ask -m ") == complete(house, "llmctl chat --model gu") == ["guide"]
    assert complete(house, "llmctl models rm gu") == complete(house, "llmctl embed -m ") == []
    (house.place / "models").mkdir(parents=True)
    (house.place / "models" / "llama.json").write_text("")
    assert complete(house, "llmctl ask -m ") == ["llama"]


def test_names_without_llmctl_home(house: House) -> None:
    user = Path(house.environ()["HOME"])
    (user / ".local/share/llmctl/models").mkdir(parents=True)
    (user / ".local/share/llmctl/models/here.json").write_text("")
    house.variables["LLMCTL_HOME"] = ""
    assert complete(house, "llmctl models show h") == ["here"]


HOSTILE = (
    "$(touch pwned)", "`touch pwned`", "b;touch pwned",
    "b\n$(touch pwned)", "b$(touch pwned)\nc", "-n", "b'c\"d", "b c", "*", "b\\nc"
)  # fmt: skip
"""Names that a shell would run or split if it expanded them."""
INSERTED = {
    "a": "a$(touch pwned).txt",
    "b": "b`touch pwned`.txt",
    "c": "c d.txt",
    "e": "e'f\".txt",
    "g": "g\n$(touch pwned).txt",
    "-i": "-i.txt",
    "j": "j*.txt",
    "k": "k;touch pwned.txt",
    "l": "l$HOME.txt",
    "m": "m\\n.txt",
    "o": "o\x1b[31m.txt",
    "p": "p&touch pwned.txt",
}
"""Typed before Tab -> the file's name."""


@pytest.fixture
def hostile(house: House) -> House:
    for folder, suffix in (("models", "json"), ("templates", "yaml")):
        (house.place / folder).mkdir(parents=True)
        for name in (*HOSTILE, "brief"):
            (house.place / folder / f"{name}.{suffix}").write_text("")
    for name in INSERTED.values():
        (house.home / name).write_text("")
    return house


@pytest.mark.parametrize("shell", FILES)
def test_no_name_of_a_template_model_or_file_is_run(shell: str, hostile: House) -> None:
    needs(shell)
    with Shell(shell, hostile.home, hostile.environ()) as typed:
        for command, option in (("ask", "-t"), ("ask", "-m"), ("templates", "show"), ("models", "load")):
            for keys in ("\t", "b\t", "\\$\t", "\\`\t", "-\t"):
                typed.arguments(f"llmctl {command} {option} {keys}")
            assert typed.arguments(f"llmctl {command} {option} b\t") == [command, option, "brief"]
        assert typed.arguments("llmctl ask --reas\t") == ["ask", "--reasoning"]
        for keys, name in INSERTED.items():
            found = typed.arguments(f"llmctl ask -f {keys}\t")
            if shell == "fish" and name[0:2] in ("g\n", "-i"):
                continue  # fish's own completion of paths splits the one and takes the other for an option
            assert found == ["ask", "-f", name]
    assert not (hostile.home / "pwned").exists()


def test_files_complete_in_a_bash_without_compopt(hostile: House) -> None:
    """Bash 3.2 of macOS has none."""
    with Shell("bash", hostile.home, hostile.environ(), before="enable -n compopt\n") as typed:
        for keys, name in INSERTED.items():
            assert typed.arguments(f"llmctl ask -f {keys}\t") == ["ask", "-f", name]
        assert typed.arguments("llmctl ask -t b\t") == ["ask", "-t", "brief"]
    assert not (hostile.home / "pwned").exists()


def test_a_folder_named_like_a_model_does_not_become_the_argument(hostile: House) -> None:
    (hostile.home / "brief").mkdir()
    with Shell("bash", hostile.home, hostile.environ()) as typed:
        assert typed.arguments("llmctl ask -m b\t") == ["ask", "-m", "brief"]
        assert typed.arguments("llmctl models add new k\t") == ["models", "add", "new", "k;touch pwned.txt"]


@pytest.mark.parametrize("shell", FILES)
def test_models_of_ollama_complete_behind_their_prefix(shell: str, house: House) -> None:
    needs(shell)
    home = Path(house.environ()["HOME"])
    for name in (
        "registry.ollama.ai/library/tale/1b",
        "hf.co/ana/Own-GGUF/Q4_K_M",
        *(f"h/n/m/{name}" for name in HOSTILE),
    ):
        manifest = home / ".ollama" / "models" / "manifests" / name
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text("{}")
    (house.home / "notes.gguf").write_text("")
    with Shell(shell, house.home, house.environ()) as typed:
        for keys, target in (
            ("oll\t", ""),
            ("ollama:t\t", "ollama:tale:1b"),
            ("ollama:hf\t", "ollama:hf.co/ana/Own-GGUF:Q4_K_M"),
        ):
            found = typed.arguments(f"llmctl models add new {keys}")
            assert found == ["models", "add", "new", target] if target else found[3].startswith("ollama:")
        assert typed.arguments("llmctl models add new note\t") == ["models", "add", "new", "notes.gguf"]
    assert not (house.home / "pwned").exists()
