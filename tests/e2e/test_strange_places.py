"""Unusual surroundings of a command: odd or deleted current folders, symlinks, no home, a terminal."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import PATIENCE_S, House, until
from tests.e2e.house import house as a_house
from tests.e2e.test_bad_input import refused

SHADOW = "import os; open(os.environ['SHADOWED'], 'a').write(__name__ + '\\n')\n"
NAMES = (
    "random",
    "json",
    "signal",
    "typing",
    "numpy",
    "msgspec",
    "zmq",
    "llmctl",
    "llmctld",
    "runpy",
    "sitecustomize",
    "torch",
)
"""Modules of the library, of others and of ours, as somebody may well call his own file."""


# ---- the current folder ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")
def test_no_module_is_imported_from_the_current_folder(house: House) -> None:
    """For the command, the hub, an engine, and each child that looks up, fetches, converts or tries something."""
    noted = house.home / "noted"
    house.variables["SHADOWED"] = str(noted)
    for name in NAMES:
        (house.home / f"{name}.py").write_text(SHADOW)
    (house.home / "trace.jsonl").write_text('{"time": 1, "key": "a", "bytes": 9, "kind": "x", "seconds": 1}\n')
    house.echo()
    house.ok(
        "ask", "hi", "--schema", "name", "--max-tokens", "40"
    )  # the hub, an engine, and the child that tries a schema
    house.ok("embed", "hi")  # the child that converts
    house.run("pull", "nobody/nothing", HF_ENDPOINT="http://127.0.0.1:9")
    outcome = house.run("daemon", "doctor")
    assert "library" in outcome.out
    house.run("cache", "replay", "trace.jsonl")
    house.ok("cache", "replay", "--history")
    house.stop()
    assert not noted.exists(), noted.read_text()


def test_every_child_is_started_without_the_current_folder() -> None:
    """One module starts all children; code that starts Python otherwise fails here."""
    package = Path(__file__).parents[2]
    files = [*package.glob("llmctl/**/*.py"), *package.glob("daemon/**/*.py")]
    assert {file.name for file in files if "sys.executable," in file.read_text()} == {"interpreter.py"}


@pytest.mark.parametrize("has_safe_path", [True, False])
def test_a_child_process_of_an_older_python_finds_its_modules(
    house: House, monkeypatch: pytest.MonkeyPatch, has_safe_path: bool
) -> None:
    from llmctl import interpreter

    monkeypatch.setattr(interpreter, "HAS_SAFE_PATH", has_safe_path and interpreter.HAS_SAFE_PATH)
    (house.home / "json.py").write_text("raise SystemExit('shadowed')")
    for command in (interpreter.module("json.tool", "--help"), interpreter.code("import json; print('--help', json)")):
        done = subprocess.run(command, cwd=house.home, capture_output=True, text=True, check=True)
        assert "--help" in done.stdout


def in_a_gone_folder(house: House, command: str, **variables: str) -> tuple[int, str, str]:
    outcome = house.shell(f"mkdir gone && cd gone && rmdir ../gone && {command}", timeout=PATIENCE_S, **variables)
    return outcome.status, outcome.out, outcome.err


def test_a_deleted_current_folder_affects_only_relative_paths(house: House) -> None:
    house.echo()
    for command in (
        "ask hi",
        "models ls",
        "ps",
        "config show",
        "daemon status",
        "cache ls",
        "embed hi",
        "templates ls",
    ):
        status, out, err = in_a_gone_folder(house, f"llmctl {command}")
        assert (status, "bug" in err) == (0, False), (command, out, err)
    (house.home / "text").write_text("a text")
    assert in_a_gone_folder(house, f"llmctl ask hi -f {house.home}/text")[0] == 0
    house.ok("daemon", "stop")
    assert in_a_gone_folder(house, "llmctl ask again")[0] == 0, "a hub is started from there too"
    for command, words in {
        "ask hi -f x.txt": "x.txt", "ask hi -t x/t.yaml": "x/t.yaml", "models add m x.gguf": "current folder no longer exists",
        "models estimate ./x.gguf": "current folder no longer exists", "embed hi -o x.npy": "the current folder no longer exists",
        "models add m echo --set draft=x": "current folder no longer exists", "cache replay x.jsonl": "x.jsonl",
        "ask hi --schema x/s.json": "x/s.json", "ask hi --grammar x.gbnf": "x.gbnf", "cache warm x.txt": "x.txt",
    }.items():  # fmt: skip
        status, _, err = in_a_gone_folder(house, f"llmctl {command}")
        assert (status in (2, 4, 5), words in err, "bug" in err, "Traceback" in err) == (True, True, False, False), (
            command,
            err,
        )
    for name in ("LLMCTL_HOME", "LLMCTL_CONFIG"):
        status, _, err = in_a_gone_folder(house, "llmctl ask hi", **{name: "x"})
        assert (status in (3, 5), "the current folder no longer exists" in err) == (True, True), err


# ---- two paths to one state -----------------------------------------------------------------------------------------


def test_a_long_path_and_a_symlink_to_it_reach_the_same_hub(house: House) -> None:
    long = house.home / ("x" * 100) / "home"
    long.parent.mkdir()
    (house.home / "l").symlink_to(long)
    paths = {"long": str(long), "short": str(house.home / "l"), "dots": f"{long}/../home/"}
    try:
        house.ok("models", "add", "echo", "echo", LLMCTL_HOME=paths["long"])
        lines = []
        for name, path in paths.items():
            house.ok("ask", name, LLMCTL_HOME=path)
            lines.append(house.ok("daemon", "status", "--json", LLMCTL_HOME=path).last)
        assert len({line["pid"] for line in lines}) == 1, "one hub under every path"
        os.unlink(Path(lines[0]["socket"]).parent)  # as a cleaner of /tmp does
        assert house.ok("daemon", "status", "--json", LLMCTL_HOME=paths["long"]).last["pid"] == lines[0]["pid"]
        house.place = long
        assert len(house.records()) == 3, "and every row that was acknowledged is there"
        assert (long / "run" / "hub.lock").exists()
    finally:
        house.run("daemon", "stop", LLMCTL_HOME=paths["short"])
        until(lambda: not house.daemons())
        Path(lines[0]["socket"]).parent.unlink(missing_ok=True)


# ---- a user without a passwd entry ----------------------------------------------------------------------------------

NOBODY = "import pwd\ndef nobody(*_): raise KeyError('uid not found')\npwd.getpwuid = pwd.getpwnam = nobody\n"


@pytest.fixture
def nobody(house: House) -> House:
    """A house of a user without an entry in the system's list, as in a container with `--user 54321`; HOME is not set."""
    (house.home / "sitecustomize.py").write_text(NOBODY)
    house.variables["PYTHONPATH"] = str(house.home)
    return house


def test_a_user_without_passwd_entry_can_use_everything_with_llmctl_home_set(nobody: House) -> None:
    def llmctl(command: str) -> str:
        outcome = nobody.shell(f"env -u HOME llmctl {command}")
        assert (outcome.status, "Traceback" in outcome.err) == (0, False), outcome
        return outcome.out

    llmctl("models add echo echo")
    assert llmctl("ask hi -m echo") == "hi\n"
    assert "embedding" in llmctl("embed hi")
    assert "ok" in llmctl("daemon doctor")
    (record,) = nobody.records("user")
    assert record["user"] == str(os.getuid())
    assert sorted(path.name for path in nobody.home.iterdir() if path.name.startswith("~")) == []


def test_without_any_home_a_command_names_the_variable_to_set(nobody: House) -> None:
    for command in ("ask hi", "ps", "daemon doctor", "config show", "daemon install --print", "models ls"):
        outcome = nobody.shell(f"env -u HOME -u LLMCTL_HOME llmctl {command}")
        assert outcome.status == 3, outcome
        assert outcome.err.count("has no home folder") == 1, outcome
        assert "LLMCTL_HOME" in outcome.err
        assert "Traceback" not in outcome.err
    refused(nobody.run("ask", "hi", LLMCTL_HOME="~nobody/x"), 3, "has no home folder")


# ---- control characters ---------------------------------------------------------------------------------------------

STEERING = "a\x1b]52;c;ZWNobyBoaQ==\x07b\x9b2Jc\u202ed\te\nf\x08\x7f\u061cg\u200eh\u200fi\u2066j\nk\rl\x1b[2"
WRITTEN_OUT = (
    "a\\x1b]52;c;ZWNobyBoaQ==\\x07b\\x9b2Jc\\u202ed\te\nf\\x08\\x7f\\u061cg\\u200eh\\u200fi\\u2066j\nk\\rl\\x1b[2"
)
UNSEEN = set("\x1b\x07\x9b\u202e\x08\x7f\u061c\u200e\u200f\u2066\r")


def in_a_terminal(house: House, *arguments: str) -> str:
    return house.in_terminal(*arguments, NO_COLOR="1").decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def steering() -> Iterator[House]:
    with a_house() as made:
        made.echo()
        (made.home / "text").write_bytes(STEERING.encode())
        yield made


def test_control_characters_in_an_answer_are_escaped_in_a_terminal_but_not_in_a_pipe(steering: House) -> None:
    asking = ("ask", "-f", "text", "--raw", "-m", "echo", "-q")
    plain = steering.ok(*asking, "--no-cache").out
    assert STEERING in plain, "a pipe gets the bytes as they are"
    written = plain.replace(STEERING, WRITTEN_OUT)
    for more in (["--no-cache"], ["--no-stream"], [], ["-n", "2", "--no-cache"]):
        seen = in_a_terminal(steering, *asking, *more)
        assert written in seen, more
        assert not UNSEEN & set(seen)


def test_control_characters_in_json_are_escaped_in_a_terminal(steering: House) -> None:
    import json

    seen = in_a_terminal(steering, "ask", "-f", "text", "--raw", "-m", "echo", "--json")
    assert not UNSEEN & set(seen)
    assert STEERING in next(found["text"] for line in seen.splitlines() if "text" in (found := json.loads(line))), (
        "and it is the same value"
    )


def test_control_characters_in_reasoning_are_escaped_in_a_terminal(steering: House) -> None:
    (steering.home / "thought").write_bytes(b"<think>" + STEERING.encode() + b"</think>fine")
    seen = in_a_terminal(steering, "ask", "-f", "thought", "--raw", "-m", "echo", "--reasoning", "show")
    assert WRITTEN_OUT in seen
    assert not UNSEEN & set(seen)


def test_control_characters_from_everywhere_else_are_escaped_in_a_terminal(steering: House) -> None:
    """A chat, a template, a notice, and an error that repeats what it was given."""
    chat = steering.in_terminal("chat", "-m", "echo", NO_COLOR="1", stdin=f'"""\n{STEERING}\n"""\n').decode()
    assert WRITTEN_OUT.partition("\n")[0] in chat
    assert not UNSEEN & set(chat.replace("\r\n", "\n"))
    templates = steering.place / "templates"
    templates.mkdir(exist_ok=True)
    (templates / "odd.yaml").write_bytes(b"prompt: hi # " + STEERING.replace("\n", "").encode())
    seen = in_a_terminal(steering, "templates", "show", "odd")
    assert WRITTEN_OUT.partition("\t")[0] in seen
    assert not UNSEEN & set(seen)
    assert steering.ok("templates", "show", "odd").out.encode() == (templates / "odd.yaml").read_bytes() + b"\n"
    failed = steering.run("models", "show", STEERING)
    assert failed.status == 4
    assert not UNSEEN & set(failed.err)
