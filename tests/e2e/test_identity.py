"""Model identity: changed files are noticed, and unchanged content keeps its stored answers."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_gguf
from tests.e2e.house import House, until
from tests.e2e.house import house as a_house
from tests.hub.test_contents import flip, unsampled


@pytest.fixture
def home() -> Iterator[House]:
    with a_house(LLMCTL_LOGS__LEVEL="debug") as made:
        yield made


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model larger than the sampled bytes."""
    path = tmp_path_factory.mktemp("identity") / "original.gguf"
    tiny_gguf.write(path, dim=256)
    return path


@pytest.fixture
def model(home: House, original: Path, tmp_path: Path) -> Path:
    shutil.copyfile(original, tmp_path / "m.gguf")
    home.ok("models", "add", "m", tmp_path / "m.gguf", "--set=context=256", "--set=slots=1", "--set=retained=0")
    return tmp_path / "m.gguf"


def ask(home: House) -> dict[str, Any]:
    return home.ok("ask", "hi", "-m", "m", "--temperature=0", "--max-tokens=4", "--json", "--no-stream").last


def sha256(home: House) -> str | None:
    found: str | None = home.ok("models", "show", "m", "--json").last["sha256"]
    return found


def hashed(home: House) -> str:
    """Waits for the idle hash."""
    return str(until(lambda: sha256(home), what="the hash"))


def test_a_changed_byte_outside_the_sampled_ones_changes_the_model_identity(home: House, model: Path) -> None:
    first = ask(home)
    hashed(home)
    assert ask(home)["cache"]["hit"] == "memory"
    pid = home.ps("m")["pid"]
    flip(model, unsampled(model.stat().st_size))
    again = ask(home)
    assert again["cache"]["hit"] is None
    assert again["cache"]["key"] != first["cache"]["key"]
    assert home.ps("m")["pid"] != pid, "a new engine, which has read the file again"
    hashed(home)
    assert ask(home)["cache"]["key"] == again["cache"]["key"], "the hash says that it is another one"


def test_a_touched_file_gets_its_stored_answers_back_after_the_idle_hash(home: House, model: Path) -> None:
    first = ask(home)
    assert hashed(home) == hashlib.sha256(model.read_bytes()).hexdigest()
    os.utime(model)
    assert sha256(home) is None
    assert ask(home)["cache"]["hit"] is None, "nobody knows yet"
    pid = home.ps("m")["pid"]
    hashed(home)
    again = ask(home)
    assert (again["cache"]["hit"], again["cache"]["key"]) == ("memory", first["cache"]["key"])
    home.ok("ask", "something else", "-m", "m", "--max-tokens=2")
    assert home.ps("m")["pid"] == pid, "what was loaded meanwhile is the same model"


def test_a_replaced_file_changes_the_identity_and_an_identical_copy_does_not(home: House, model: Path) -> None:
    first = ask(home)
    hashed(home)
    shutil.copyfile(model, model.with_suffix(".copy"))
    other = model.with_suffix(".other")
    tiny_gguf.write(other, dim=256, seed=9)
    os.replace(other, model)
    assert ask(home)["cache"]["hit"] is None
    os.replace(model.with_suffix(".copy"), model)
    assert ask(home)["cache"]["hit"] is None
    hashed(home)
    assert ask(home)["cache"]["key"] == first["cache"]["key"]


def test_a_deleted_model_file_is_status_4_even_while_it_is_loaded(home: House, model: Path) -> None:
    ask(home)
    model.rename(model.with_suffix(".away"))
    outcome = home.run("ask", "hi", "-m", "m", "--json")
    assert (outcome.status, outcome.error["code"]) == (4, "model_unavailable")
    assert str(model) in outcome.error["message"]
    model.with_suffix(".away").rename(model)
    assert ask(home)["text"]


def test_a_restarted_hub_hashes_no_model_file_again(home: House, model: Path) -> None:
    first = ask(home)
    digest = hashed(home)
    assert home.log.read_text().count("a file was hashed") == 1
    home.ok("daemon", "restart")
    assert sha256(home) == digest
    again = ask(home)
    assert (again["cache"]["hit"], again["cache"]["key"]) == ("disk", first["cache"]["key"])
    tiny_gguf.write(model.with_name("other.gguf"), seed=3)
    home.ok("models", "add", "other", model.with_name("other.gguf"), "--set=context=256")
    home.ok("models", "load", "other")
    until(lambda: home.ok("models", "show", "other", "--json").last["sha256"])
    hashes = [line for line in home.log.read_text().splitlines() if "a file was hashed" in line]
    assert len(hashes) == 2, "the one before the restart, and the new one"
    assert "other.gguf" in hashes[1]


def test_files_written_by_the_user_are_never_rewritten(home: House, model: Path) -> None:
    config = home.place / "config.toml"
    text = b"# mine\r\n[defaults]\nmodel   =  'm'  # as I like it\n\n\n"
    config.write_bytes(text)
    home.ok("models", "add", "e", "echo", "--alias", "x", "--set=slots=2")
    assert (home.place / "models" / "e.json").exists()
    before = (home.place / "models" / "m.json").read_bytes()
    home.ok("models", "add", "e", "echo", "--force")
    home.ok("models", "load", "e")
    home.ok("models", "unload", "e")
    home.ok("models", "rm", "e", "--yes")
    assert config.read_bytes() == text
    assert (home.place / "models" / "m.json").read_bytes() == before
    assert not (home.place / "models" / "e.json").exists()
