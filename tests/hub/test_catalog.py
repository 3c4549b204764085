"""Which models exist, what they are called, and what identifies a model's file."""

import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import msgspec
import pytest
from llmctld.doctor import __main__ as doctor
from llmctld.models.catalogue import catalog as module
from llmctld.models.catalogue.catalog import Catalog

from llmctl.config import ModelEntry, ModelSettings, read_models
from llmctl.errors import InvalidRequest, LlmctlError, ModelUnavailable, Storage, Usage
from llmctl.paths import find_paths
from tests.hub.scene import a_catalog

GGUF = b"GGUF" + b"\x03\0\0\0" + bytes(16)


def again(folder: Path) -> Catalog:
    """The catalog that the next hub reads."""
    return Catalog(folder / "models", {})


def test_added_models_are_kept_for_the_next_hub(tmp_path: Path) -> None:
    a_catalog(tmp_path, first={"token_ms": "1.5", "slots": "2"}, second={}).add("third", "echo", ["nick"], {}, False)
    catalog = again(tmp_path)
    assert catalog.choose(None, "text").name == "first", "the oldest is the default"
    assert catalog.find("nick").name == "third"
    assert catalog.settings(catalog.find("first")) == ModelSettings(token_ms=1.5, slots=2)
    catalog.remove("nick")
    assert again(tmp_path).find("second").name == "second"
    for name in ("third", "nick"):
        with pytest.raises(ModelUnavailable, match=name):
            again(tmp_path).find(name)


def test_without_a_model_the_hint_says_how_to_add_one(tmp_path: Path) -> None:
    for name in (None, "x"):
        with pytest.raises(ModelUnavailable) as caught:
            a_catalog(tmp_path).choose(name, "text")
        assert "models add" in caught.value.hint


def test_a_change_keeps_other_settings_and_is_kept_for_the_next_hub(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path, a={"slots": "2", "token_ms": "1"}, b={})
    entry = catalog.find("a")
    assert catalog.settings(entry).slots == 2
    catalog.change("a", {"slots": "3"}, ["token_ms"], ["nick"], [])
    assert catalog.find("nick") is entry, "those who hold the entry see the change"
    assert catalog.settings(entry) == ModelSettings(slots=3)
    kept = again(tmp_path)
    assert kept.settings(kept.find("nick")) == ModelSettings(slots=3)
    catalog.change("nick", {}, [], [], ["nick"])
    assert again(tmp_path).find("a").aliases == []
    with pytest.raises(InvalidRequest):
        catalog.change("a", {"slots": "4"}, ["slots"], ["nick"], [])
    assert (catalog.settings(entry).slots, entry.aliases) == (3, [])
    guide = ModelEntry(name="guide", target="echo", backend="echo")
    with pytest.raises(Usage) as caught:
        Catalog(tmp_path / "models", {}, guide=guide).change("guide", {"slots": "2"}, [], [], [])
    assert "[models.guide]" in caught.value.hint


def test_existing_name_is_replaced_only_by_force_and_keeps_its_position(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path, a={}, b={})
    catalog.add("c", "echo", ["nick"], {}, False)
    for name, aliases in (("a", []), ("nick", []), ("d", ["b"]), ("d", ["nick"])):
        with pytest.raises(Usage, match=r"already names|already an alias of"):
            catalog.add(name, "echo", aliases, {}, False)
    with pytest.raises(Usage, match="already an alias of the model c"):
        catalog.add("nick", "echo", [], {}, True)  # force replaces a model, never an alias of another
    catalog.add("a", "echo", ["first"], {"slots": "3"}, True)
    assert catalog.choose(None, "text").name == again(tmp_path).choose(None, "text").name == "a"
    assert catalog.settings(catalog.find("first")).slots == 3


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("../x", {}, "model name"),
        ("", {}, "model name"),
        ("x" * 65, {}, "model name"),
        ("x", {"context": "many"}, "context"),
        ("x", {"context": "-5"}, "context"),
        ("x", {"contxt": "5"}, "contxt"),
        ("x", {"fail": "never"}, "fail"),
        ("x", {"slots": "0"}, "slots"),
    ],
)
def test_invalid_model_is_refused_with_the_reason_and_leaves_no_file(
    tmp_path: Path, name: str, settings: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        a_catalog(tmp_path).add(name, "echo", [], settings, False)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"GGUF", b"PK\x03\x04" + bytes(40), b"gguf" + bytes(40)])
def test_target_that_is_not_a_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    target = tmp_path / "file.gguf"
    if content is not None:
        target.write_bytes(content)
    for path in (target, tmp_path):
        with pytest.raises(ModelUnavailable):
            a_catalog(tmp_path).add("x", str(path), [], {}, False)


def test_the_configuration_overrides_added_settings(tmp_path: Path) -> None:
    a_catalog(tmp_path, e={"slots": "2", "token_ms": "1"})
    catalog = Catalog(tmp_path / "models", {"e": ModelSettings(slots=5, temperature=0.0)})
    assert catalog.settings(catalog.find("e")) == ModelSettings(slots=5, token_ms=1.0, temperature=0.0)


def test_unwritable_folder_is_reported(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path)
    (tmp_path / "models").rmdir()
    with pytest.raises(Storage, match=r"x\.json"):
        catalog.add("x", "echo", [], {}, False)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"name": "e"}', b'{"name":"e","target":"echo","backend":"echo","new":1}']
)
def test_invalid_model_file_is_reported_and_others_are_still_read(tmp_path: Path, content: bytes) -> None:
    a_catalog(tmp_path, e={}, f={})
    (tmp_path / "models" / "e.json").write_bytes(content)
    said: list[str] = []
    assert list(read_models(tmp_path / "models", said.append)) == ["f"]
    assert said[0].startswith("cannot read ")
    assert "e.json: " in said[0]
    assert again(tmp_path).choose(None, "text").name == "f"
    with pytest.raises(ModelUnavailable, match=r"the file of the model e is damaged: cannot read .*e\.json") as caught:
        again(tmp_path).choose("e", "text")
    assert "llmctl models add e TARGET" in caught.value.hint
    (tmp_path / "models" / "f.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"no model that produces .* can be read: cannot read .*e\.json"):
        again(tmp_path).choose(None, "text")


def test_named_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelUnavailable, match="not a regular file"):
        catalog.add("x", str(tmp_path / "pipe"), [], {}, False)


def test_duplicate_aliases_are_dropped(tmp_path: Path) -> None:
    assert a_catalog(tmp_path).add("x", "echo", ["x", "y", "y"], {}, False).aliases == ["y"]


# ---- identity -------------------------------------------------------------------------------------------------------


def entry(path: Path, **more: Any) -> ModelEntry:
    return ModelEntry(name="m", target=str(path), backend="llama.cpp", **more)


def write(path: Path, content: bytes, seconds: int) -> None:
    path.write_bytes(content)
    os.utime(path, (seconds, seconds))


def test_replaced_file_changes_the_identity(tmp_path: Path) -> None:
    catalog, path = a_catalog(tmp_path), tmp_path / "m.gguf"
    write(path, GGUF + b"old", 1000)
    before = catalog.identity(entry(path))
    write(path, GGUF + b"new", 2000)
    assert catalog.identity(entry(path)) != before


def test_identity_depends_on_the_backend(tmp_path: Path) -> None:
    catalog, path = a_catalog(tmp_path, e={}), tmp_path / "m.gguf"
    write(path, GGUF, 1000)
    assert catalog.identity(entry(path)) != catalog.identity(msgspec.structs.replace(entry(path), backend="echo"))


def test_missing_library_is_named_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    catalog, path = a_catalog(tmp_path), tmp_path / "m.gguf"
    write(path, GGUF, 1000)
    module._library.cache_clear()
    monkeypatch.setattr(module, "version", missing)
    with pytest.raises(ModelUnavailable, match="needs the package llama-cpp-python, which is not installed") as caught:
        catalog.identity(entry(path))
    assert "pip install llama-cpp-python" in caught.value.hint
    monkeypatch.setattr(module, "PYTHON", "3.10")
    with pytest.raises(ModelUnavailable, match=r"needs Python 3\.11 or newer, and this is 3\.10"):
        module._library("transformers")
    monkeypatch.setattr(module, "PYTHON", "3.11")
    with pytest.raises(ModelUnavailable, match=r"package transformers, which is not installed$"):
        module._library("transformers")


def test_doctor_checks_model_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCTL_HOME", str(tmp_path))
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (folder / "model.safetensors").write_bytes(b"")
    a_catalog(tmp_path).add("folder", str(folder), [], {}, False)
    assert [found.state for found in doctor.models(find_paths())] == ["ok"]
    (folder / "config.json").unlink()
    assert [found.state for found in doctor.models(find_paths())] == ["fail"]


def test_missing_file_or_folder_in_its_place_is_unavailable(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path)
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(ModelUnavailable) as caught:
            catalog.identity(entry(path))
        assert isinstance(caught.value, LlmctlError)
        assert str(path) in caught.value.message
