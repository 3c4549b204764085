"""What a loaded model really holds of the machine's memory, and what it is counted with."""

import sys
from pathlib import Path

import pytest

from tests import tiny_gguf
from tests.e2e.house import House

MIB = 2**20
ONE = ("--no-cache", "--max-tokens", "16", "--temperature", "0", "--json", "--no-stream")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight streams of 65,536 tokens are 128 MiB of KV memory."""
    path = tmp_path_factory.mktemp("models") / "long.gguf"
    tiny_gguf.write(path, context=65_536)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells where memory lies")
def test_kv_memory_grows_with_what_is_used_and_is_counted_whole(house: House, long: Path) -> None:
    house.variables["LLMCTL_LIMITS__MEMORY_BYTES"] = "250M"
    for name in ("a", "b"):
        house.ok("models", "add", name, long, "--set=context=65536")
    told = house.ok("models", "estimate", "a", "--json").last
    assert told["kv_bytes"] == 128 * MIB
    house.ok("ask", "-m", "a", "hello", *ONE)
    (shown,) = house.ok("ps", "--json").lines
    assert (shown["context"], shown["slots"]) == (65_536, 4), "nothing was shrunk"
    assert shown["memory_bytes"] < 128 * MIB, "with Python, the library and the weights"
    house.ok("ask", "-m", "b", "hello", *ONE)
    assert [line["name"] for line in house.ok("ps", "--json").lines] == ["b"], "both could come to more than the limit"
