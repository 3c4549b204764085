"""The stores of other programs: each model once, by its program's own name, and what cannot be read is said."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmctl.errors import InvalidRequest, ModelUnavailable
from llmctl.stores import ollama, programs
from llmctl.stores.stored import Home, StoredModel
from tests import stores
from tests.stores import Ollama, folder_model, gguf, snapshot, write


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home({}, tmp_path / "home")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service of this machine is not looked at."""
    monkeypatch.setattr(ollama, "SYSTEM", ())
    monkeypatch.setattr(ollama, "UNITS", ())


def look(home: Home, *folders: Path) -> tuple[list[StoredModel], list[str]]:
    said: list[str] = []
    return programs.find(home._replace(search=folders), said.append), said


def names(home: Home, *folders: Path) -> list[tuple[str, str]]:
    found, said = look(home, *folders)
    assert said == []
    return [(each.program, each.name) for each in found]


# ---- each program's layout --------------------------------------------------------------------------------------------


def test_the_hugging_face_cache_is_found_where_its_variables_say(home: Home, tmp_path: Path) -> None:
    for at, environ in enumerate(
        [
            {"HF_HUB_CACHE": str(tmp_path / "0")},
            {"HF_HOME": str(tmp_path / "1")},
            {"XDG_CACHE_HOME": str(tmp_path / "2")},
        ]
    ):
        snapshot(tmp_path / ["0", "1/hub", "2/huggingface/hub"][at], f"ana/m{at}", {"m-Q8_0.gguf": gguf()})
        assert names(Home(environ, home.path)) == [("huggingface", "m-Q8_0")]


def test_a_cached_repository_counts_each_file_once_over_its_snapshots(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    new, old = gguf(mark="new"), gguf(mark="old")
    snapshot(hub, "ana/two", {"a.gguf": old, "sub/b.gguf": new}, commit="f" * 40, main=False)
    main = snapshot(hub, "ana/two", {"a.gguf": new, "mmproj-a.gguf": gguf("clip"), "README.md": b"x"})
    write(hub / "models--ana--two" / "blobs" / "0.1234.incomplete", gguf())
    found, said = look(Home({"HF_HUB_CACHE": str(hub)}, tmp_path / "home"))
    assert ([each.path for each in found], said) == ([main / "a.gguf"], []), "b is the same file as a"


def test_a_cached_folder_model_has_the_name_of_its_repository(tmp_path: Path) -> None:
    folder = folder_model(tmp_path / "source")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    for commit in (stores.COMMIT, "f" * 40):
        snapshot(tmp_path / "hub", "ana/tale", files, commit, main=commit == stores.COMMIT)
    found, said = look(Home({"HF_HUB_CACHE": str(tmp_path / "hub")}, tmp_path / "home"))
    assert [(each.name, each.path.name) for each in found] == [("tale", stores.COMMIT)]
    assert said == []


def test_llama_cpp_has_a_flat_cache_and_one_in_the_layout_of_hugging_face(home: Home, tmp_path: Path) -> None:
    flat = home.path / ".cache" / "llama.cpp"
    write(flat / "ana_tale-GGUF_tale-Q4_K_M.gguf", gguf(mark="1"))
    write(flat / "manifest=ana=tale-GGUF=latest.json", "{}")
    write(flat / "ana_tale-GGUF_mmproj-f16.gguf", gguf("clip"))
    write(flat / "ana_x.gguf.downloadInProgress", gguf())
    for part in (1, 2):
        write(flat / f"ana_big-0000{part}-of-00002.gguf", gguf(mark=str(part)))
    assert names(home) == [("llama.cpp", "ana_big"), ("llama.cpp", "ana_tale-GGUF_tale-Q4_K_M")]
    snapshot(tmp_path / "named", "ana/new", {"new.gguf": gguf(), "mtp-new.gguf": gguf(mark="draft")})
    assert names(Home({"LLAMA_CACHE": str(tmp_path / "named")}, home.path)) == [("llama.cpp", "new")]


def test_lm_studio_has_a_home_a_pointer_to_it_a_download_folder_and_bundled_models(home: Home, tmp_path: Path) -> None:
    elsewhere = tmp_path / "studio"
    write(home.path / ".lmstudio-home-pointer", f"{elsewhere}\n")
    write(elsewhere / "settings.json", {"downloadsFolder": str(tmp_path / "downloads"), "theme": "dark"})
    write(elsewhere / ".internal/bundled-models/nomic-ai/nomic/nomic-embed.gguf", gguf(mark="0"))
    write(tmp_path / "downloads/ana/tale-GGUF/tale.gguf", gguf(mark="1"))
    write(tmp_path / "downloads/ana/half-GGUF/half.gguf.part", gguf(mark="x"))
    write(home.path / ".cache/lm-studio/models/ana/old/old.gguf", gguf(mark="2"))
    write(home.path / ".lmstudio/models/ana/here/here.gguf", gguf(mark="3"))
    assert {name for _, name in names(home)} == {"nomic-embed", "tale", "old", "here"}


def test_gpt4all_has_its_own_folder_a_named_one_and_that_of_its_bindings(home: Home, tmp_path: Path) -> None:
    write(home.path / ".config/nomic.ai/GPT4All.ini", f"[General]\nmodelPath={tmp_path / 'named'}/\nserverChat=true\n")
    write(tmp_path / "named/a.gguf", gguf(mark="a"))
    write(home.path / ".local/share/nomic.ai/GPT4All/b.gguf", gguf(mark="b"))
    write(home.path / ".local/share/nomic.ai/GPT4All/incomplete-c.gguf", gguf(mark="c"))
    write(home.path / ".local/share/nomic.ai/GPT4All/d.rmodel", "{}")
    write(home.path / ".cache/gpt4all/e.gguf", gguf(mark="e"))
    assert names(home) == [("gpt4all", "a"), ("gpt4all", "b"), ("gpt4all", "e")]


def test_jan_says_in_model_yml_where_a_model_is(home: Home, tmp_path: Path) -> None:
    data = tmp_path / "jan data"
    write(home.path / ".local/share/jan.ai.app/settings.json", {"data_folder": str(data)})
    models = data / "llamacpp" / "models"
    write(models / "ana/tale/model.gguf", gguf(mark="1"))
    write(models / "ana/tale/model.yml", "model_path: llamacpp/models/ana/tale/model.gguf\nname: tale\nsize_bytes: 5\n")
    write(models / "mine/model.yml", f"model_path: {write(tmp_path / 'mine.gguf', gguf(mark='2'))}\nname: mine\n")
    write(home.path / "jan/models/old/old.gguf", gguf(mark="3"))
    assert names(home) == [("jan", "tale"), ("jan", "mine"), ("jan", "old")]
    write(models / "gone/model.yml", "model_path: llamacpp/models/gone/model.gguf\n")
    write(models / "odd/model.yml", "[1, 2")
    write(models / "odder/model.yml", "name: odder\n")
    found, said = look(home)
    assert len(found) == 3
    assert [words.partition(" is skipped")[0] for words in said] == [
        str(models / "gone/model.gguf"), str(models / "odd/model.yml"), str(models / "odder/model.yml"),
    ]  # fmt: skip


def test_text_generation_webui_has_files_and_folders_in_a_clone(home: Home, tmp_path: Path) -> None:
    clone = home.path / "text-generation-webui"
    write(clone / "user_data/models/a.gguf", gguf(mark="a"))
    write(clone / "user_data/models/place-your-models-here.txt")
    folder_model(clone / "user_data/models/ana_tale")
    write(clone / "models/b.gguf", gguf(mark="b"))
    write(clone / "user_data/CMD_FLAGS.txt", f"# flags\n--listen --model-dir '{tmp_path / 'my models'}'\n")
    write(tmp_path / "my models/c.gguf", gguf(mark="c"))
    assert [name for _, name in names(home)] == ["c", "a", "ana_tale", "b"]


def test_on_a_mac_programs_have_other_folders(tmp_path: Path) -> None:
    home = Home({"XDG_CACHE_HOME": "/nowhere"}, tmp_path, mac=True)
    write(tmp_path / "Library/Caches/llama.cpp/a.gguf", gguf(mark="a"))
    write(tmp_path / "Library/Application Support/nomic.ai/GPT4All/b.gguf", gguf(mark="b"))
    write(tmp_path / "Library/Application Support/Jan/data/llamacpp/models/c/model.yml", "model_path: c.gguf")
    write(tmp_path / "Library/Application Support/Jan/data/c.gguf", gguf(mark="c"))
    found = programs.find(home, pytest.fail)
    assert [each.program for each in found] == ["llama.cpp", "gpt4all", "jan"]


# ---- ollama -----------------------------------------------------------------------------------------------------------


def test_ollama_lists_models_by_the_names_that_it_takes(home: Home, tmp_path: Path) -> None:
    store = Ollama(tmp_path / "store")
    home = Home({"OLLAMA_MODELS": f'"{store.store}"'}, home.path)
    for at, (name, host) in enumerate(
        [("library/tale/latest", stores.HOST), ("library/tale/1b-q8", stores.HOST), ("ana/own/latest", stores.HOST),
         ("bart/Tale-GGUF/Q4_K_M", "hf.co")]
    ):  # fmt: skip
        store.pull(name, host, model=gguf(mark=str(at)), template=b"{{ .Prompt }}", license=b"MIT")
    store.pull("library/cloud/latest", params=b"{}")
    found, said = look(home)
    assert {each.target: each.name for each in found} == {
        "ollama:tale": "tale", "ollama:tale:1b-q8": "tale:1b-q8", "ollama:ana/own": "own",
        "ollama:hf.co/bart/Tale-GGUF:Q4_K_M": "Tale-GGUF:Q4_K_M",
    }  # fmt: skip
    assert said == []
    for target in ("tale", "tale:latest", "library/tale", "registry.ollama.ai/library/TALE:latest"):
        assert ollama.find(f"ollama:{target}", home).target == "ollama:tale"
    assert ollama.find("ollama:hf.co/bart/tale-gguf:q4_k_m", home).path == store.blob(gguf(mark="3"))


def test_a_store_elsewhere_is_found_by_the_setting_or_by_the_unit_of_the_service(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("searched", "in unit", "in_change"):
        Ollama(tmp_path / name).pull(f"library/{name.replace(' ', '-')}/latest", model=gguf(mark=name))
    unit = write(
        tmp_path / "ollama.service", f'[Service]\nEnvironment="PATH=/bin" "OLLAMA_MODELS={tmp_path}/in unit"\n'
    )
    write(tmp_path / "d/override.conf", f"[Service]\nEnvironment=HOME=/x OLLAMA_MODELS={tmp_path}/in_change\n")
    monkeypatch.setattr(ollama, "UNITS", (str(unit), str(tmp_path / "d"), str(tmp_path / "absent")))
    assert names(home, tmp_path / "searched") == [
        ("ollama", "searched"),
        ("ollama", "in-unit"),
        ("ollama", "in_change"),
    ]
    assert ollama.find("ollama:searched", home._replace(search=(tmp_path / "searched",))).name == "searched"


def test_what_ollama_sets_for_a_model_is_taken_where_llmctl_has_it(home: Home) -> None:
    store = Ollama(home.path / ".ollama" / "models")
    store.pull(
        "library/tale/latest", model=gguf(), adapter=b"lora", system=b"be brief", projector=b"p",
        params=b'{"temperature": 0.2, "top_k": 9, "top_p": 7, "num_ctx": 99, "stop": ["x"], "min_p": true}',
    )  # fmt: skip
    found = ollama.find("ollama:tale", home)
    adapters = json.dumps({"adapter": str(store.blob(b"lora"))})
    assert found.settings == {"temperature": "0.2", "top_k": "9", "adapters": adapters}
    assert found.unused == ("system prompt", "image projector", "stop strings")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda store: store.blob(gguf()).unlink(), "is missing; `ollama pull tale` downloads it again"),
        (lambda store: store.blob(gguf()).rename(f"{store.blob(gguf())}-partial"), "its download is incomplete"),
        (lambda store: store.manifest("library/tale/latest").write_text('{"layers": [{'), "is damaged"),
        (lambda store: store.manifest("library/tale/latest").write_bytes(b'"\xff"'), "is damaged"),
        (lambda store: write(store.manifest("library/tale/latest"),
                             {"layers": [{"mediaType": stores.KIND + "model", "digest": "sha256:../../x"}]}),
         "has the digest 'sha256:../../x'"),
        (lambda store: replaced_by_a_pipe(store.manifest("library/tale/latest")),
         "it is not a regular file"),
    ],
)  # fmt: skip
def test_a_broken_model_of_ollama_is_said_and_skipped(home: Home, damage: object, words: str) -> None:
    store = Ollama(home.path / ".ollama" / "models")
    store.pull("library/tale/latest", model=gguf())
    store.pull("library/whole/latest", model=gguf(mark="whole"))
    assert callable(damage)
    damage(store)
    found, said = look(home)
    assert [each.name for each in found] == ["whole"]
    assert len(said) == 1
    assert said[0].startswith("ollama:tale is skipped")
    assert words in said[0]
    with pytest.raises(ModelUnavailable, match="cannot be used") as caught:
        ollama.find("ollama:tale", home)
    assert words in caught.value.message


def test_a_model_that_ollama_lacks_is_refused_with_the_nearest_names(home: Home) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        ollama.find("ollama:tail:1b", home)
    assert caught.value.hint == "`ollama pull tail:1b` downloads it."
    Ollama(home.path / ".ollama" / "models").pull("library/tale/1b", model=gguf())
    with pytest.raises(ModelUnavailable) as caught:
        ollama.find("ollama:tail:1b", home)
    assert caught.value.hint.startswith("Did you mean: ollama:tale:1b?")
    for wrong in ("ollama:", "ollama:a b", "ollama:a/b/c/d", "ollama:../x", "ollama:a:b:c/d e"):
        with pytest.raises(InvalidRequest, match="is not the name of an ollama model"):
            ollama.find(wrong, home)


def test_a_file_that_ollama_replaced_or_removed_is_told_apart(home: Home) -> None:
    store = Ollama(home.path / ".ollama" / "models")
    old = store.pull("library/tale/latest", model=gguf(mark="old"))
    assert ollama.lost("ollama:tale", old, "m") is None
    old.unlink()
    assert (ollama.lost("ollama:tale", old, "m") or ("",))[0].startswith("ollama cannot use tale itself")
    store.pull("library/tale/latest", model=gguf(mark="new"))
    message, hint = ollama.lost("ollama:tale", old, "m") or ("", "")
    assert message == f"ollama has replaced tale: {old} no longer exists"
    assert hint == "`llmctl models add m ollama:tale --force` uses the version that ollama has now."
    store.manifest("library/tale/latest").unlink()
    message, hint = ollama.lost("ollama:tale", old, "m") or ("", "")
    assert message == f"ollama has removed tale: {old} no longer exists"
    assert "`ollama pull tale`" in hint
    assert "`llmctl models rm m`" in hint


# ---- what lies around in folders --------------------------------------------------------------------------------------


def test_odd_things_in_a_folder_neither_stop_nor_enter_the_list(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    write(folder / "with space.gguf", gguf(mark="1"))
    write(folder / "zwei\nzeilen ü.GGUF", gguf(mark="2"))
    os.mkfifo(folder / "pipe.gguf")
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to("self")
    (folder / "broken.gguf").symlink_to(folder / "nowhere.gguf")
    (folder / "twice.gguf").symlink_to("with space.gguf")
    os.link(folder / "with space.gguf", folder / "x hard link.gguf")
    (folder / "folder.gguf").mkdir()
    write(folder / ".hidden/h.gguf", gguf(mark="h"))
    write(folder / "half.gguf.incomplete", gguf())
    write(folder / "lora/adapter_config.json", "{}")
    write(folder / "lora/adapter_model.safetensors")
    write(folder / "image/model_index.json", "{}")
    folder_model(folder / "image" / "text_encoder")
    Path(os.fsdecode(os.fsencode(folder) + NOT_UTF8)).write_bytes(gguf(mark="n"))
    found, said = look(home, folder, tmp_path / "absent")
    assert [each.name for each in found] == ["twice", "zwei\nzeilen ü"]
    assert [words.replace(f"{folder}/", "") for words in said] == [
        "broken.gguf is skipped: it is a link to a file that does not exist",
        f"{os.fsencode(folder) + NOT_UTF8!r} is skipped: the name is not UTF-8".replace(f"{folder}/", ""),
        "self is skipped: Too many levels of symbolic links",
        f"models.search names {tmp_path / 'absent'}, which is not a folder",
    ]


NOT_UTF8 = b"/n\xff.gguf"


def replaced_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@contextmanager
def nobody() -> Iterator[None]:
    """Root reads everything, so the block runs as another user if this one is root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unreadable_folder_is_said_and_skipped(home: Home) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        shut = write(folder / "shut/a.gguf", gguf()).parent
        write(folder / "open/b.gguf", gguf())
        shut.chmod(0)
        with nobody():
            found, said = look(home._replace(path=folder / "home"), folder)
        shut.chmod(0o700)
    assert ([each.name for each in found], said) == (["b"], [f"{shut} is skipped: Permission denied"])


def test_the_store_of_an_ollama_service_that_is_closed_to_others_is_said_with_the_way_in(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        store = Ollama(Path(made) / "ollama" / ".ollama" / "models")
        store.pull("library/tale/latest", model=gguf())
        monkeypatch.setattr(ollama, "SYSTEM", (str(store.store),))
        (Path(made) / "ollama").chmod(0o700)
        with nobody():
            _, said = look(home._replace(path=Path(made) / "home"))
            with pytest.raises(ModelUnavailable, match="Permission denied"):
                ollama.find("ollama:tale", home._replace(path=Path(made) / "home"))
        (Path(made) / "ollama").chmod(0o755)
        with nobody():
            found, _ = look(home._replace(path=Path(made) / "home"))
    assert said == [
        f'{made}/ollama is skipped: Permission denied (`sudo usermod -aG ollama "$USER"` and a new login may change that)'
    ]
    assert [each.name for each in found] == ["tale"], "the store of another user is read where that is allowed"


def test_names_are_what_add_accepts_and_each_is_different(tmp_path: Path) -> None:
    found = [StoredModel("p", name, tmp_path) for name in ("tale", "tale", "a b\nü", "ü", "x" * 99, "tale-2", "-_q")]
    assert programs.names_for(found, ["tale"]) == ["tale-2", "tale-3", "a-b", "model", "x" * 60, "tale-2-2", "q"]
