"""Prefix reuse: across requests and across an unload, and only if the saved prefix is proven intact."""

import json
from pathlib import Path

import pytest

from tests import tiny_gguf
from tests.e2e.house import House

TEXT = "a e i o u " * 200
"""2,000 tokens."""
ONE = ("--no-cache", "--max-tokens", "8", "--temperature", "0", "--json", "--no-stream")


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With room for 2,000 tokens."""
    path = tmp_path_factory.mktemp("models") / "long.gguf"
    tiny_gguf.write(path, seed=7, context=4096, layers=3, dim=128)
    return path


@pytest.fixture
def home(house: House, long: Path) -> House:
    house.ok("models", "add", "long", long, "--set=slots=2", "--set=flash_attention=false")
    return house


def states(home: House) -> list[Path]:
    return sorted((home.place / "cache" / "prefixes").rglob("*.state"))


@pytest.mark.parametrize("ending", [("models", "unload", "long"), ("daemon", "restart")])
def test_a_prefix_is_reused_after_the_engine_has_ended(home: House, ending: tuple[str, ...]) -> None:
    first = home.ok("ask", TEXT, *ONE).last
    home.ok(*ending)
    (file,) = states(home)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert first["usage"]["cached_tokens"] == 0
    second = home.ok("ask", TEXT, *ONE).last
    assert second["usage"]["cached_tokens"] == first["usage"]["prompt_tokens"] - 1, (
        "but for the last: it is asked for more"
    )
    assert second["text"] == first["text"]


@pytest.mark.parametrize("place", [0.5, 0.0])
def test_a_flipped_byte_in_a_saved_prefix_is_detected_and_the_prompt_computed(home: House, place: float) -> None:
    first = home.ok("ask", TEXT, *ONE).last
    home.ok("models", "unload", "long")
    (file,) = states(home)
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)
    outcome = home.ok("ask", TEXT, *ONE)
    assert (outcome.last["usage"]["cached_tokens"], outcome.last["text"]) == (0, first["text"])
    notices = [json.loads(line)["notice"] for line in outcome.err.splitlines()]
    assert [notice for notice in notices if "saved prefix" in notice and "computed again" in notice], notices


def test_another_file_under_the_same_model_name_reuses_no_old_prefix(home: House, tmp_path: Path) -> None:
    home.ok("ask", TEXT, *ONE)
    home.ok("models", "unload", "long")
    other = tmp_path / "other.gguf"
    tiny_gguf.write(other, seed=8, context=4096, layers=3, dim=128)
    home.ok("models", "add", "long", other, "--force", "--set=slots=2", "--set=flash_attention=false")
    assert home.ok("ask", TEXT, *ONE).last["usage"]["cached_tokens"] == 0


def test_a_changed_context_reuses_no_old_prefix(home: House, long: Path) -> None:
    home.ok("ask", TEXT, *ONE)
    home.ok("models", "unload", "long")
    (old,) = states(home)
    home.ok("models", "add", "long", long, "--force", "--set=slots=2", "--set=context=3000")
    assert home.ok("ask", TEXT, *ONE).last["usage"]["cached_tokens"] == 0
    assert not old.exists(), "nobody can use it any more"


def test_removing_a_model_removes_its_saved_prefixes(home: House) -> None:
    home.ok("ask", TEXT, *ONE)
    home.ok("models", "unload", "long")
    assert states(home)
    home.ok("models", "rm", "long", "--yes")
    assert states(home) == []


def test_no_prefix_is_saved_when_the_disk_limit_is_zero(house: House, long: Path) -> None:
    house.variables["LLMCTL_CACHE__PREFIX_DISK_BYTES"] = "0"
    house.ok("models", "add", "long", long)
    house.ok("ask", TEXT, *ONE)
    house.ok("models", "unload", "long")
    assert states(house) == []


def test_eight_clients_with_a_common_prompt_compute_it_once(home: House) -> None:
    commands = [home.spawn("ask", f"{TEXT}{number}", *ONE) for number in range(8)]
    usages = [command.end().last["usage"] for command in commands]
    computed = [usage["prompt_tokens"] - usage["cached_tokens"] for usage in usages]
    assert sum(count > 100 for count in computed) == 1, computed


def test_repro_reuses_no_prefix(home: House) -> None:
    home.ok("ask", TEXT, *ONE)
    repro = [home.ok("ask", TEXT, *ONE, "--repro").last for _ in range(2)]
    again = home.ok("ask", TEXT, *ONE).last
    assert [answer["usage"]["cached_tokens"] for answer in repro] == [0, 0]
    assert repro[0]["text"] == repro[1]["text"]
    assert [answer["batched"] for answer in (*repro, again)] == [False, False, True]
