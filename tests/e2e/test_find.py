"""Models of other programs by the installed command: they are listed with what they are, and used where they are."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kinds_gguf, odd_gguf, stores, tiny_gguf
from tests.e2e.house import House
from tests.e2e.house import house as a_house
from tests.quantised import quantise
from tests.stores import Ollama, folder_model, gguf, snapshot, write

ASK = ("--raw", "--temperature", "0", "--max-tokens", "5", "-q")


def user(house: House) -> Path:
    return Path(house.environ()["HOME"])


def mine(house: House, *arguments: str, **variables: str) -> dict[str, dict[str, object]]:
    """Name -> line, without what a service of this machine may have."""
    lines = house.ok("models", "find", *arguments, "--json", **variables).lines
    return {line["name"]: line for line in lines if line["path"].startswith(str(house.home))}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Real models: one that writes text, the same quantised, and one that embeds."""
    folder = tmp_path_factory.mktemp("weights")
    tiny_gguf.write(folder / "tiny.gguf", seed=7)
    quantise(kinds_gguf.write(folder / "f.gguf", "llama"), folder / "q.gguf", "Q4_K_M")
    kinds_gguf.write(folder / "bert.gguf", "bert")
    return {name: (folder / f"{name}.gguf").read_bytes() for name in ("tiny", "q", "bert")}


@pytest.fixture(scope="module")
def full(weights: dict[str, bytes]) -> Iterator[House]:
    """A home in which each program has left a model."""
    with a_house() as made:
        home = user(made)
        snapshot(home / ".cache/huggingface/hub", "ana/tale-GGUF", {"tale-Q4_K_M.gguf": weights["q"]})
        Ollama(home / ".ollama/models").pull(
            "library/llama3.2/latest", model=weights["tiny"], params=b'{"temperature": 0.1}', system=b"be brief"
        )
        write(home / ".lmstudio/models/ana/vec-GGUF/vec.gguf", weights["bert"])
        write(home / ".cache/llama.cpp/ana_cpp_cpp.gguf", gguf(mark="cpp"))
        write(home / ".local/share/nomic.ai/GPT4All/four.gguf", gguf("zebra9", mark="four"))
        jan = write(home / ".local/share/Jan/data/llamacpp/models/jam/model.gguf", gguf(mark="jan"))
        write(jan.with_name("model.yml"), "model_path: llamacpp/models/jam/model.gguf\n")
        folder_model(home / "text-generation-webui/user_data/models/ana_folder")
        (made.home / "more/x").mkdir(parents=True)
        tiny_gguf.write(made.home / "more/x/big.gguf", seed=3, split=8)
        write(made.home / "more/zwei\nzeilen.gguf", gguf(mark="two lines"))
        write(made.home / "more/empty.gguf")
        write(made.home / "more/mmproj-x.gguf", gguf("clip"))
        write(made.home / "more/lora.gguf", gguf(type="adapter"))
        (made.home / "more/again.gguf").symlink_to(home / ".lmstudio/models/ana/vec-GGUF/vec.gguf")
        (made.home / "more/loop").symlink_to(made.home / "more")
        write(made.place / "config.toml", f'[models]\nsearch = ["{made.home}/more"]\n')
        yield made


def test_the_models_of_every_program_are_listed_with_what_they_are(full: House) -> None:
    found = mine(full)
    told = {
        name: (line["program"], line["kind"], line["architecture"], line["quantization"], line["fits"])
        for name, line in found.items()
    }
    assert told == {
        "tale-Q4_K_M": ("huggingface", "text", "llama", "Q4_K_M", True),
        "llama3.2": ("ollama", "text", "llama", "F32", True),
        "vec": ("lmstudio", "embedding", "bert", "F32", True),
        "ana_cpp_cpp": ("llama.cpp", "text", "llama", "Q4_K_M", True),
        "four": ("gpt4all", "text", "zebra9", "Q4_K_M", True),
        "jam": ("jan", "text", "llama", "Q4_K_M", True),
        "ana_folder": ("text-generation-webui", "text", "llama", "bfloat16", True),
        "big": ("models.search", "text", "llama", "F32", True),
        "zwei-zeilen": ("models.search", "text", "llama", "Q4_K_M", True),
    }
    assert found["llama3.2"]["target"] == "ollama:llama3.2"
    assert found["jam"]["target"] == found["jam"]["path"]
    parts = sorted((full.home / "more" / "x").iterdir())
    assert found["big"]["size_bytes"] == sum(part.stat().st_size for part in parts)
    assert found["big"]["path"] == str(parts[0])


def test_a_pipe_gets_a_line_for_each_model_and_notices_stay_on_stderr(full: House) -> None:
    outcome = full.ok("models", "find", "zwei*", "jam")
    head, *rows = outcome.out.splitlines()
    assert head.split() == ["NAME", "PROGRAM", "KIND", "ARCH", "QUANT", "SIZE", "FITS", "ADDED", "TARGET"]
    assert [row.split()[0] for row in rows] == ["jam", "zwei-zeilen"]
    assert rows[1].endswith("more/zwei\\nzeilen.gguf")
    assert "empty.gguf is not a GGUF file" in outcome.err
    assert "1 file or folder is neither a language model nor an embedding model" in outcome.err
    assert full.ok("models", "find", "-q").err == ""


def test_what_does_not_fit_is_said(full: House, weights: dict[str, bytes]) -> None:
    with a_house(
        HOME=str(user(full)), LLMCTL_LIMITS__MEMORY_BYTES="200K", LLMCTL_LIMITS__GPU_MEMORY_BYTES="0"
    ) as small:
        rows = {line["name"]: line for line in small.ok("models", "find", "--json").lines}
        assert (rows["llama3.2"]["fits"], rows["jam"]["fits"]) == (False, True)
        outcome = small.ok("models", "find", "llama3.2", "--add")
        assert "llama3.2 does not fit in memory; `llmctl models add NAME ollama:llama3.2` adds it" in outcome.err
        assert "nothing to add" in outcome.err
        assert small.ok("models", "ls", "--json").out == ""


def test_a_name_that_nothing_has_is_status_5_with_the_nearest(full: House) -> None:
    outcome = full.run("models", "find", "lama3.2", "--json")
    assert (outcome.status, outcome.error["code"], "llama3.2" in outcome.error["hint"]) == (5, "not_found", True)


def test_a_home_without_models_is_status_0_with_a_way_on(house: House) -> None:
    write(house.home / "empty" / "notes.txt")
    outcome = house.ok("models", "find")
    if not outcome.out:  # a service of this machine may have some
        assert "no model of another program was found" in outcome.err
        assert "`llmctl models suggest` lists models to download" in outcome.err
        assert not house.daemons(), "nothing to describe, so no hub"
    outcome = house.ok("models", "find", LLMCTL_MODELS__SEARCH=f'["{house.home}/nowhere", "{house.home}/empty"]')
    assert f"models.search names {house.home}/nowhere, which is not a folder" in outcome.err
    refused = house.run("models", "find", LLMCTL_MODELS__SEARCH="here")
    assert (refused.status, "models.search: expected `array`" in refused.err.lower()) == (2, True), refused


def test_add_takes_models_where_they_are_and_they_answer(house: House, weights: dict[str, bytes]) -> None:
    home = user(house)
    store = Ollama(home / ".ollama/models")
    blob = store.pull("library/llama3.2/latest", model=weights["tiny"])
    write(home / ".lmstudio/models/ana/vec-GGUF/vec.gguf", weights["bert"])
    write(home / ".lmstudio/models/ana/bad/bad.gguf", gguf()[:80])
    before = sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*"))
    outcome = house.ok("models", "find", "llama*", "vec", "--add", "--json")
    assert "llama3.2 is the default model now" in outcome.err
    assert [(line["name"], line["target"], line["kind"]) for line in outcome.lines] == [
        ("llama3.2", str(blob), "text"), ("vec", str(home / ".lmstudio/models/ana/vec-GGUF/vec.gguf"), "embedding"),
    ]  # fmt: skip
    assert house.ok("ask", "hi", *ASK).out
    assert house.ok("embed", "hi", "-q").lines
    assert {name: line["added"] for name, line in mine(house).items()} == {"llama3.2": "llama3.2", "vec": "vec"}
    again = house.ok("models", "find", "llama*", "--add")
    assert "is already added as llama3.2" in again.err
    for name in ("llama3.2", "vec"):
        house.ok("models", "rm", name, "--yes")
    assert sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*")) == before, "the stores are only read"


# ---- ollama -----------------------------------------------------------------------------------------------------------


def test_a_model_of_ollama_is_added_by_its_name_with_its_sampling_and_adapter(
    house: House, weights: dict[str, bytes]
) -> None:
    store = Ollama(house.home / "store")
    odd_gguf.lora(house.home / "lora.gguf")
    house.variables["OLLAMA_MODELS"] = str(store.store)
    layers = {
        "params": b'{"temperature": 0.3, "top_k": 7, "stop": ["x"]}',
        "system": b"be brief",
        "adapter": (house.home / "lora.gguf").read_bytes(),
    }
    blob = store.pull("ana/own/1b", "hf.co", model=weights["tiny"], **layers)
    outcome = house.ok("models", "add", "own", "ollama:hf.co/ana/own:1b", "--json", "--set=top_k=9", "--alias=o")
    assert outcome.last["target"] == str(blob)
    assert outcome.last["settings"] == {
        "temperature": 0.3, "top_k": 9, "adapters": {"adapter": str(store.blob(layers["adapter"]))},
    }  # fmt: skip
    assert "not used here: system prompt, stop strings" in outcome.err
    assert "--adapter adapter" in outcome.err
    assert house.ok("models", "show", "o", "--json").last["origin"] == "ollama:hf.co/ana/own:1b"
    plain = house.ok("ask", "hi", "-m", "own", *ASK).out
    assert house.ok("ask", "hi", "-m", "own", "--adapter", "adapter", *ASK).out != plain
    told = house.ok("models", "estimate", "ollama:hf.co/ana/own:1b", "--json").last
    assert told["total_bytes"] == house.ok("models", "estimate", blob, "--json").last["total_bytes"]
    refused = house.run("models", "add", "x", "ollama:own")
    assert (refused.status, "`ollama pull own` downloads it" in refused.err) == (4, True), refused
    refused = house.run("models", "add", "x", "ollama:hf.co/ana/own:1b", "--embedding")
    assert (refused.status, "not embeddings" in refused.err) == (5, True), refused
    refused = house.run("models", "add", "x", "ollama:")
    assert (refused.status, "is not the name of an ollama model" in refused.err) == (5, True), refused


@pytest.mark.parametrize("loaded", [True, False])
def test_a_model_that_ollama_replaces_or_removes_is_noticed(
    house: House, weights: dict[str, bytes], loaded: bool
) -> None:
    store = Ollama(user(house) / ".ollama/models")
    old = store.pull("library/tale/latest", model=weights["tiny"])
    house.ok("models", "add", "tale", "ollama:tale")
    if loaded:
        house.ok("models", "load", "tale")
    new = store.pull("library/tale/latest", model=weights["q"])
    old.unlink()  # as `ollama pull` does with what no manifest names any more
    for command in (("ask", "hi"), ("models", "load", "tale"), ("models", "estimate", "tale")):
        if loaded and command[1] == "load":
            continue  # it is loaded
        outcome = house.run(*command, "--json")
        assert (outcome.status, outcome.error["code"]) == (4, "model_unavailable"), (command, outcome)
        assert outcome.error["message"] == f"ollama has replaced tale: {old} no longer exists"
        assert "`llmctl models add tale ollama:tale --force`" in outcome.error["hint"]
    assert house.ok("models", "add", "tale", "ollama:tale", "--force", "--json").last["target"] == str(new)
    assert house.ok("ask", "hi", *ASK).out
    store.manifest("library/tale/latest").unlink()
    new.unlink()
    outcome = house.run("ask", "hi", "--json")
    assert (outcome.status, "ollama has removed tale" in outcome.error["message"]) == (4, True), outcome
    assert "`llmctl models rm tale`" in outcome.error["hint"]


def test_the_setting_models_search_is_shown_and_a_model_may_be_called_search(house: House) -> None:
    write(house.place / "config.toml", '[models]\nsearch = ["~/a"]\n[models.other]\ncontext = 5\n')
    lines = {line["key"]: line for line in house.ok("config", "show", "--json").lines}
    assert lines["models.search"]["value"] == ["~/a"]
    assert lines["models.search"]["source"].endswith("config.toml")
    write(house.place / "config.toml", "[models.search]\ncontext = 5\n")
    lines = {line["key"]: line for line in house.ok("config", "show", "--json").lines}
    assert (lines["models.search"]["value"], lines["models.search.context"]["value"]) == ([], 5)
    write(house.place / "config.toml", "[models]\nsearch = [5]\n")
    refused = house.run("config", "check")
    assert (refused.status, "models.search" in refused.err) == (2, True), refused


def test_ten_thousand_files_are_looked_through_by_name_and_only_headers_are_read(house: House) -> None:
    """Counted, not timed: of 10,000 files 20 are models, each with a GiB behind its header that nobody reads."""
    folder = house.home / "many"
    for number in range(50):
        (folder / str(number)).mkdir(parents=True)
    for number in range(9980):
        (folder / str(number % 50) / f"{number}.json").touch()
    for number in range(20):
        with write(folder / str(number) / f"m{number}.gguf", gguf(mark=str(number))).open("r+b") as file:
            file.truncate(2**30)  # sparse: takes no room on the disk
    house.variables["LLMCTL_MODELS__SEARCH"] = json.dumps([str(folder)])
    house.ok("daemon", "start")
    before = house.hub().io_counters().read_chars
    assert len(mine(house)) == 20
    assert house.hub().io_counters().read_chars - before < 2**30, "of 20"


def test_broken_and_half_downloaded_files_are_said_and_skipped(house: House) -> None:
    home = user(house)
    store = Ollama(home / ".ollama/models")
    store.pull("library/lost/latest", model=gguf(mark="lost")).unlink()
    half = store.pull("library/half/latest", model=gguf(mark="half"))
    half.rename(f"{half}-partial")
    write(store.manifest("library/odd/latest"), "{")
    snapshot(home / ".cache/huggingface/hub", "ana/gone", {"gone.gguf": gguf(mark="gone")})
    for blob in (home / ".cache/huggingface/hub/models--ana--gone/blobs").iterdir():
        blob.rename(f"{blob}.incomplete")
    folder = home / ".lmstudio/models/ana/m"
    write(folder / "m.gguf.part", gguf())
    write(folder / "cut.gguf", gguf(mark="cut")[:90])
    write(folder / "good.gguf", gguf(mark="good"))
    os.mkfifo(folder / "pipe.gguf")
    (folder / "self").symlink_to("self")
    Path(os.fsdecode(os.fsencode(folder) + b"/n\xff.gguf")).write_bytes(gguf(mark="n"))
    write(home / ".local/share/nomic.ai/GPT4All/incomplete-x.gguf", gguf(mark="x"))
    write(home / ".cache/llama.cpp/y.gguf.downloadInProgress", gguf(mark="y"))
    outcome = house.ok("models", "find", "--json")
    assert [line["name"] for line in outcome.lines if line["path"].startswith(str(home))] == ["good"]
    notices = [json.loads(line)["notice"] for line in outcome.err.splitlines()]
    assert [notice.replace(f"{home}/", "").partition(" is skipped: ")[::2] for notice in notices[:5]] == [
        (f".cache/huggingface/hub/models--ana--gone/snapshots/{stores.COMMIT}/gone.gguf",
         "it is a link to a file that does not exist"),
        ("ollama:half", "its download is incomplete; `ollama pull` continues it"),
        ("ollama:lost", f"its file {store.blob(gguf(mark='lost'))} is missing; `ollama pull lost` downloads it again"
         .replace(f"{home}/", "")),
        ("ollama:odd", f"{store.manifest('library/odd/latest')} is damaged: Input data was truncated".replace(f"{home}/", "")),
        (repr(os.fsencode(folder) + b"/n\xff.gguf").replace(f"{home}/", ""), "the name is not UTF-8"),
    ]  # fmt: skip
    assert notices[5:] == ["2 more files and folders are skipped"], (
        "of the link to itself and the file that was cut short"
    )
    refused = house.run("models", "add", "x", "ollama:lost", "--json")
    assert (refused.status, "`ollama pull lost` downloads it again" in refused.error["message"]) == (4, True), refused
