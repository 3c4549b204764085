"""`llmctl pull`: models from a hub on loopback: complete, interrupted, corrupt and refused transfers."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import tiny_bert, tiny_gguf
from tests.e2e.house import LLMCTL, House, alive, gone, until
from tests.e2e.house import house as a_house
from tests.tiny_hub import Hub, Repository, tiny_hub

TOKEN = "hf_onlyForAna0123456789"
ONE = ("--raw", "--temperature", "0", "--max-tokens", "5", "-q")
FILE = "tiny-Q4_0.gguf"
HALF = 200_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    tiny_gguf.write(path, seed=7)
    return path.read_bytes()


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The parts of a model, by name."""
    folder = tmp_path_factory.mktemp("split")
    tiny_gguf.write(folder / "big.gguf", seed=7, split=8)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def hub(model: bytes) -> Iterator[Hub]:
    with tiny_hub(ana__tiny=Repository({FILE: model, "README.md": b"A model."})) as made:
        yield made


@pytest.fixture
def home(house: House, hub: Hub) -> House:
    house.variables["HF_ENDPOINT"] = hub.url
    return house


@pytest.fixture(scope="module")
def refused(model: bytes, split: dict[str, bytes]) -> Iterator[House]:
    """For what is not pulled, and so leaves nothing behind."""
    first, *_ = split
    with (
        tiny_hub(
            ana__many=Repository({"a-Q2_K.gguf": model, "a-F16.gguf": model * 2, "mmproj-a-Q4_0.gguf": model}),
            ana__large=Repository({"a-Q8_0.gguf": model}),
            ana__none=Repository({"README.md": b"Nothing.", "notes.txt": b"x" * 3000}),
            ana__pickle=Repository({"config.json": b"{}", "pytorch_model.bin": b"x" * 3000}),
            ana__parts=Repository({first: split[first]}),
            ana__gated=Repository({FILE: model}, gated=True),
            ana__private=Repository({FILE: model}, token=TOKEN),
            ana__huge=Repository({"a-Q4_0.gguf": model}, sizes={"a-Q4_0.gguf": 2**60}),
        ) as hub,
        a_house(HF_ENDPOINT=hub.url) as made,
    ):
        yield made.echo("taken")


def part(home: House) -> int:
    """Bytes of the file that have come and are kept."""
    return sum(file.stat().st_size for file in (home.place / "pulled").rglob("*.part"))


def pulled(home: House) -> list[str]:
    folder = home.place / "pulled"
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


# ---- successful pulls -----------------------------------------------------------------------------------------------


def test_a_pulled_model_answers_under_the_name_of_its_file(home: House, hub: Hub, tmp_path: Path, model: bytes) -> None:
    done = home.ok("pull", "ana/tiny")
    assert done.out == ""
    assert "pulling tiny-Q4_0.gguf of ana/tiny (454.2 KiB)" in done.err
    assert len(done.err.splitlines()) <= 4, "in a pipe a few notices at most"
    (tmp_path / "same.gguf").write_bytes(model)
    home.ok("models", "add", "same", tmp_path / "same.gguf")
    assert home.ok("ask", "hi", "-m", "tiny-Q4_0", *ONE).out == home.ok("ask", "hi", "-m", "same", *ONE).out
    again = home.ok("models", "pull", "ana/tiny:tiny-Q4_0.gguf", "--json")
    assert (again.last["name"], again.last["kind"]) == ("tiny-Q4_0", "text")
    assert all(set(line) == {"notice"} for line in map(json.loads, again.err.splitlines()))
    forced = home.ok("pull", "ana/tiny", "--force", "--set", "context=64", "--json").last
    assert forced["settings"] == {"context": 64}
    assert hub.sent(FILE) == len(model), "what is here already is checked, and not fetched"


def test_pull_takes_a_name_and_settings_for_the_model(home: House) -> None:
    home.ok("pull", "ana/tiny:q4_0", "--as", "small", "--alias", "s", "--tier", "economy", "--set", "context=256")
    (line,) = home.ok("models", "ls", "--json").lines
    assert (line["name"], line["aliases"], line["pulled"]) == ("small", ["s"], "ana/tiny")
    assert line["settings"] == {"tier": "economy", "context": 256}


def test_all_parts_of_a_split_file_are_pulled_and_make_one_model(house: House, split: dict[str, bytes]) -> None:
    assert len(split) >= 3
    with tiny_hub(ana__big=Repository({**split, "other-Q8_0.gguf": b"x"})) as hub:
        house.ok("pull", f"ana/big:{list(split)[1]}", HF_ENDPOINT=hub.url)
    assert pulled(house) == [f"ana/big/{name}" for name in split]
    assert house.ok("models", "ls", "--json").last["name"] == "big"
    assert house.ok("ask", "hi", "-m", "big", *ONE).out
    house.ok("models", "rm", "big", "--yes")
    assert pulled(house) == []


def test_without_a_file_name_the_largest_common_quantisation_that_fits_is_pulled(house: House, model: bytes) -> None:
    files = {
        "a-Q4_0.gguf": model,
        "a-Q4_K_M.gguf": model + bytes(9),
        "a-Q8_0.gguf": model + bytes(10**6),
        "a-F16.gguf": model,
    }
    with tiny_hub(ana__a=Repository(files)) as hub:
        house.variables |= {"HF_ENDPOINT": hub.url, "LLMCTL_LIMITS__MEMORY_BYTES": "1M"}
        house.ok("pull", "ana/a", "-q")
    assert pulled(house) == ["ana/a/a-Q4_K_M.gguf"]


def test_a_repository_of_safetensors_is_pulled_as_a_folder_without_pickles(house: House, tmp_path: Path) -> None:
    folder = tiny_bert.write(tmp_path / "bert")
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    more = {
        "pytorch_model.bin": b"x" * 2000,
        "onnx/model.onnx": b"x" * 2000,
        "README.md": b"x",
        "../evil.json": b"{}",
        "tokenizer_\x1b[31m.json": b"{}",
    }
    with tiny_hub(ana__bert=Repository(files | more)) as hub:
        done = house.ok("pull", "ana/bert", "--json", HF_ENDPOINT=hub.url)
    assert (done.last["name"], done.last["backend"]) == ("bert", "sentence-transformers")
    assert pulled(house) == sorted(f"ana/bert/{name}" for name in files)
    house.ok("models", "rm", "bert", "--yes")
    assert not (house.place / "pulled" / "ana").exists()


def test_a_terminal_shows_the_progress_of_the_transfer(home: House, hub: Hub, model: bytes) -> None:
    hub.stop_after = HALF
    ours, theirs = pty.openpty()
    command = subprocess.Popen(
        [str(LLMCTL), "pull", "ana/tiny"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=home.environ(TERM="xterm"),
        cwd=home.home,
    )
    os.close(theirs)
    shown = b""
    while not re.search(rb"[1-9][\d.]* % of 454\.2 KiB", shown):
        shown += os.read(ours, 4096)
    hub.go.set()
    while b"added model" not in shown:
        shown += os.read(ours, 4096)
    assert command.wait() == 0
    os.close(ours)


# ---- interrupted pulls ----------------------------------------------------------------------------------------------


def test_a_pull_interrupted_by_a_kill_of_the_hub_resumes_with_the_missing_bytes_only(
    home: House, hub: Hub, model: bytes
) -> None:
    hub.stop_after = HALF
    command = home.spawn("pull", "ana/tiny")
    assert hub.standing.wait(60)
    daemons = home.daemons()
    assert len(daemons) == 2, "the hub and its child"
    until(lambda: part(home) > 0)
    home.hub().kill()
    assert gone(daemons), "the child ends with its hub"
    assert command.end().status == 3
    kept = part(home)
    hub.go.set()
    done = home.ok("pull", "ana/tiny")
    assert "are here already" in done.err
    assert [(got.start, got.sent) for got in hub.got[1:]] == [(kept, len(model) - kept)]
    assert home.ok("ask", "hi", "-m", "tiny-Q4_0", *ONE).out


def test_ctrl_c_stops_the_transfer_and_the_same_command_resumes_it(home: House, hub: Hub, model: bytes) -> None:
    hub.stop_after = HALF
    command = home.spawn("pull", "ana/tiny")
    assert hub.standing.wait(60)
    until(lambda: part(home) > 0)
    (child,) = [process for process in home.daemons() if process != home.hub()]
    command.interrupt()
    outcome = command.end()
    assert outcome.status == 130
    assert "run the same command again to resume" in outcome.err
    assert gone([child])
    assert alive(home.hub())
    kept = part(home)
    assert 0 < kept < len(model)
    assert home.ok("models", "ls", "--json").lines == []
    hub.go.set()
    home.ok("pull", "ana/tiny")
    assert (hub.got[1].start, hub.got[1].sent) == (kept, len(model) - kept)


def test_a_hub_with_a_running_pull_is_not_restarted(home: House, hub: Hub, tmp_path: Path) -> None:
    """Neither an upgrade nor a stop takes the hub for idle: a pull counts as work."""
    (tmp_path / "sitecustomize.py").write_text("import llmctl\nllmctl.__version__ = '0.0.9'\n")
    home.echo()
    home.ok("daemon", "stop")
    hub.stop_after = HALF
    command = home.spawn("pull", "ana/tiny", variables={"PYTHONPATH": str(tmp_path)})
    assert hub.standing.wait(60)
    pid = home.hub().pid
    assert home.status()["requests_in_flight"] == 1
    outcome = home.ok("ask", "hi")
    assert (outcome.out, home.hub().pid) == ("hi\n", pid)
    assert "0.0.9" in outcome.err
    assert "it is running 1 request;" in outcome.err
    assert re.search(r"cancelled requests: \w+ \(ana/tiny\)", home.ok("daemon", "stop", "--timeout", "0.1s").err)
    assert command.end().status != 0
    hub.go.set()
    home.ok("pull", "ana/tiny")


def test_a_broken_connection_is_resumed_where_it_broke(home: House, hub: Hub, model: bytes) -> None:
    hub.cut_after = HALF
    home.ok("pull", "ana/tiny")
    assert [got.start > 0 for got in hub.got] == [False, True]
    assert hub.got[1].sent == len(model) - hub.got[1].start


def test_a_server_without_range_requests_sends_everything_again(home: House, hub: Hub, model: bytes) -> None:
    hub.cut_after, hub.takes_ranges = HALF, False
    home.ok("pull", "ana/tiny")
    assert [(got.start, got.sent) for got in hub.got][1:] == [(0, len(model))]
    assert home.ok("ask", "hi", "-m", "tiny-Q4_0", *ONE).out


def test_removing_a_pulled_model_announces_and_confirms_the_deletion_of_its_files(home: House) -> None:
    home.ok("pull", "ana/tiny", "-q")
    outcome = home.run("models", "rm", "tiny-Q4_0")
    assert outcome.status == 2
    assert outcome.out.splitlines() == [
        "model tiny-Q4_0", f"its files downloaded from ana/tiny: {home.place}/pulled/ana/tiny/{FILE}"
    ]  # fmt: skip
    assert pulled(home) == [f"ana/tiny/{FILE}"]
    home.ok("models", "rm", "tiny-Q4_0", "--yes")
    assert pulled(home) == []


def test_two_concurrent_pulls_of_one_file_share_one_transfer(home: House, hub: Hub, model: bytes) -> None:
    hub.stop_after = HALF
    first = home.spawn("pull", "ana/tiny", "--as", "one")
    assert hub.standing.wait(60)
    second = home.spawn("pull", "ana/tiny", "--as", "two")
    assert second.stderr is not None
    said = second.stderr.readline() + second.stderr.readline()
    assert "being downloaded by another process" in said
    hub.go.set()
    assert (first.end().status, second.end().status) == (0, 0)
    assert [got.sent for got in hub.got] == [len(model)]
    assert {line["name"] for line in home.ok("models", "ls", "--json").lines} == {"one", "two"}
    home.ok("models", "rm", "one", "--yes")
    assert pulled(home) == [f"ana/tiny/{FILE}"], "another model uses it"
    home.ok("models", "rm", "two", "--yes")
    assert pulled(home) == []


# ---- refused pulls --------------------------------------------------------------------------------------------------


def test_a_wrong_checksum_deletes_the_file_and_adds_no_model(home: House, hub: Hub) -> None:
    hub.lies = {FILE}
    outcome = home.run("pull", "ana/tiny", "--json")
    assert outcome.status == 4
    assert "its hash is" in outcome.error["message"]
    assert "deleted" in outcome.error["message"]
    assert pulled(home) == []
    assert home.ok("models", "ls", "--json").lines == []


SOCKET_BYTES = 2**24
"""What the system may hold of a connection between two processes: sent, and received by nobody."""


def test_a_file_longer_than_its_size_in_the_listing_is_stopped_and_deleted(home: House, hub: Hub) -> None:
    hub.overlong = {FILE}
    outcome = home.run("pull", "ana/tiny", "--json")
    assert outcome.status == 4
    assert f"{FILE} of ana/tiny is longer than the" in outcome.error["message"]
    assert "it was deleted" in outcome.error["message"]
    assert hub.poured < SOCKET_BYTES
    assert pulled(home) == []
    assert home.ok("models", "ls", "--json").lines == []
    hub.overlong = set()
    home.ok("pull", "ana/tiny")


def interrupt_at_half(home: House, hub: Hub) -> None:
    """A pull that Ctrl-C ends after some of its file has arrived."""
    hub.stop_after = HALF
    command = home.spawn("pull", "ana/tiny")
    assert hub.standing.wait(60)
    until(lambda: part(home) > 0)
    (child,) = [process for process in home.daemons() if process != home.hub()]
    command.interrupt()
    command.end()
    gone([child])  # the command may end before it


def test_a_resumed_file_longer_than_its_size_is_stopped_and_deleted(home: House, hub: Hub) -> None:
    interrupt_at_half(home, hub)
    hub.overlong = {FILE}
    hub.go.set()
    outcome = home.run("pull", "ana/tiny")
    assert (outcome.status, hub.got[1].start > 0) == (4, True)
    assert "is longer than the" in outcome.err
    assert pulled(home) == []


def test_a_compressed_file_is_refused_and_what_was_there_is_kept(home: House, hub: Hub) -> None:
    interrupt_at_half(home, hub)
    kept = part(home)
    hub.go.set()
    hub.compressed = {FILE}
    outcome = home.run("pull", "ana/tiny")
    assert outcome.status == 4
    assert "sends its content compressed (Content-Encoding: gzip)" in outcome.err
    assert part(home) == kept
    hub.compressed = set()
    home.ok("pull", "ana/tiny")
    assert hub.got[-1].start == kept


def test_a_part_longer_than_the_server_s_file_is_deleted_so_that_the_next_pull_begins_anew(
    home: House, hub: Hub, model: bytes
) -> None:
    hub.repositories["ana/tiny"].sizes = {FILE: len(model) + 9}
    short = home.run("pull", "ana/tiny")
    assert (short.status, part(home)) == (4, len(model))
    outcome = home.run("pull", "ana/tiny")
    assert outcome.status == 4
    assert f"ends before byte {len(model)}, but the listing says {len(model) + 9} bytes; it was deleted" in outcome.err
    assert pulled(home) == []


def test_a_transfer_that_always_begins_anew_and_breaks_off_ends(home: House, hub: Hub) -> None:
    hub.cut_after, hub.cuts_always, hub.takes_ranges = HALF, True, False
    outcome = home.run("pull", "ana/tiny")
    assert outcome.status == 4
    assert "began again at its first byte 3 times" in outcome.err
    assert len(hub.got) == 4
    assert pulled(home) == []


def test_a_listing_that_is_none_is_status_4_and_no_bug(refused: House) -> None:
    size = b'{"siblings": [{"rfilename": "a-Q4_0.gguf", "size": "x"}]}'
    with tiny_hub(ana__page=Repository({}, listing=b"<html>Log in"), ana__size=Repository({}, listing=size)) as hub:
        for name, words in (("page", "JSON is malformed"), ("size", "Expected `int | null`, got `str`")):
            outcome = refused.run("pull", f"ana/{name}", "--json", HF_ENDPOINT=hub.url)
            assert outcome.status == 4
            assert f"sends no listing of ana/{name}: {words}" in outcome.error["message"]
            assert "HF_ENDPOINT" in outcome.error["hint"]
        hub.compressed = {"listing"}
        outcome = refused.run("pull", "ana/page", HF_ENDPOINT=hub.url)
        assert (outcome.status, "Content-Encoding: gzip" in outcome.err) == (4, True)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "is longer than 32.0 MiB; reading was stopped"),
        (302, "there is no repository ana/tiny"),
        (404, "there is no repository ana/tiny"),
        (500, "answered with status 500"),
    ],
)
def test_a_listing_without_end_is_read_to_its_limit_and_a_refusal_without_end_not_at_all(
    refused: House, status: int, words: str
) -> None:
    with tiny_hub(ana__tiny=Repository({}, endless=status)) as hub:
        outcome = refused.run("pull", "ana/tiny", HF_ENDPOINT=hub.url)
        assert outcome.status == 4
        assert words in outcome.err
        assert hub.poured < (2**25 if status == 200 else 0) + SOCKET_BYTES


def test_an_address_of_the_endpoint_that_is_none_is_status_4(refused: House) -> None:
    for address in ("http://[", "127.0.0.1:9", "http://127.0.0.1:99999", "file:///etc"):
        outcome = refused.run("pull", "ana/tiny", HF_ENDPOINT=address)
        assert outcome.status in (4, 5), outcome
        assert "HF_ENDPOINT" in outcome.err


def test_a_pulled_file_that_is_no_gguf_is_deleted(house: House) -> None:
    with tiny_hub(ana__text=Repository({"a-Q4_0.gguf": b"no model, but a text" * 100})) as hub:
        outcome = house.run("pull", "ana/text", HF_ENDPOINT=hub.url)
    assert outcome.status == 4
    assert "not a GGUF file" in outcome.err
    assert pulled(house) == []


def test_a_token_gives_access_and_appears_in_no_file_and_no_process_list(house: House, model: bytes) -> None:
    with tiny_hub(ana__tiny=Repository({FILE: model}, token=TOKEN)) as hub:
        house.variables["HF_ENDPOINT"] = hub.url
        hub.stop_after = HALF
        house.ok("daemon", "start")  # in an environment without it
        command = house.spawn("pull", "ana/tiny", variables={"HF_TOKEN": TOKEN})
        assert hub.standing.wait(60)
        lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        assert any("llmctld.models.pull.fetch" in line for line in lines)
        assert not any(TOKEN in line for line in lines)
        hub.go.set()
        assert command.end().status == 0
        assert hub.got[0].token == TOKEN
        wrong = house.run("pull", "ana/tiny", "--as", "other", HF_TOKEN=TOKEN + "x", LLMCTL_LOGS__LEVEL="debug")
        assert wrong.status == 4
        assert TOKEN not in wrong.err
    house.stop()
    files = [file for file in house.home.rglob("*") if file.is_file() and not file.is_symlink()]
    assert files
    assert not [file for file in files if TOKEN.encode() in file.read_bytes()]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["ana/many"], 4, ["no Q4_K_M, Q4_0 or Q8_0", "a-F16.gguf (908.4 KiB)", "a-Q2_K.gguf (454.2 KiB)"]),
        (["ana/many:b.gguf"], 4, ["no GGUF file 'b.gguf'", "a-F16.gguf (908.4 KiB)"]),
        (["ana/none"], 4, ["contains no usable model", "notes.txt (2.9 KiB)"]),
        (["ana/pickle"], 4, ["pickles, which can run code", "pytorch_model.bin"]),
        (["ana/parts:big-00001-of-00003.gguf"], 4, ["lacks big-00002-of-00003.gguf"]),
        (["ana/gated:q4_0"], 4, ["gated", "HF_TOKEN"]),
        (["ana/private"], 4, ["401", "HF_TOKEN"]),
        (["ana/nobody"], 4, ["there is no repository ana/nobody"]),
        (["ana/huge:q4_0"], 14, ["are missing", "1048576.0 TiB"]),
        (["ana/many:q2_k", "--as", "taken"], 2, ["already names the model taken"]),
        (["ana/many:q2_k", "--as", "../x"], 5, ["is not a name"]),
        (["../../etc:passwd"], 5, ["is not a repository name"]),
        (["ana/many:q2_k", "--price-in", "-1"], 5, ["price_in"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and "/" in value[0] else "",
)
def test_a_failed_pull_is_reported_with_its_reason_and_a_hint(
    refused: House, arguments: list[str], status: int, words: list[str]
) -> None:
    outcome = refused.run("pull", *arguments)
    assert outcome.status == status, outcome
    assert not [word for word in words if word not in outcome.err], outcome.err
    assert "Traceback" not in outcome.err
    assert not [name for name in pulled(refused) if not name.endswith(".part")]


def test_too_little_memory_for_any_file_is_refused_with_the_sizes(refused: House) -> None:
    refused.ok("daemon", "restart", LLMCTL_LIMITS__MEMORY_BYTES="100K")
    outcome = refused.run("pull", "ana/large", LLMCTL_LIMITS__MEMORY_BYTES="100K")
    assert outcome.status == 4
    assert "that fits into 100.0 KiB" in outcome.err
    assert "a-Q8_0.gguf (454.2 KiB)" in outcome.err


def test_an_unreachable_endpoint_is_named(shared: House) -> None:
    outcome = shared.run("pull", "ana/tiny", HF_ENDPOINT="http://127.0.0.1:9")
    assert outcome.status == 4
    assert "http://127.0.0.1:9 cannot be reached" in outcome.err
    assert "HF_ENDPOINT" in outcome.err


def test_pull_accepts_the_address_of_a_page_or_a_file(home: House, hub: Hub) -> None:
    page = f"{hub.url}/ana/tiny"
    assert home.ok("pull", f"{page}/tree/main", "--json").last["name"] == "tiny-Q4_0"
    assert (
        home.ok("pull", f"{page}/resolve/main/{FILE}?download=true", "--as", "again", "--json").last["name"] == "again"
    )
    added = home.run("models", "add", "m", page)
    assert (added.status, "`llmctl pull ana/tiny --as m`" in added.err) == (5, True)
