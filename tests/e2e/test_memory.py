"""How much memory a loaded model really uses, and how much is accounted for it."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests import odd_gguf, tiny_gguf
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
def test_kv_memory_grows_with_use_and_is_counted_at_its_full_size(house: House, long: Path) -> None:
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


TEXT = "a e i o u " * 200
"""2,000 tokens: thirty windows."""


@pytest.fixture
def sliding(house: House, tmp_path: Path) -> House:
    """A model with a sliding window of 64 tokens in every second layer, three slots, and no retention by time."""
    house.variables["LLMCTL_ENGINE_STEP_MS"] = "8 2"
    path = tmp_path / "sliding.gguf"
    odd_gguf.sliding(path, context=4096, window=64)
    return (
        house.ok("models", "add", "m", path, "--set=slots=3", "--set=batch=128", "--set=flash_attention=false")
        and house
    )


def ask(house: House, text: str, *more: str) -> dict[str, Any]:
    """The answer to a text as it stands."""
    return house.ok("ask", "--raw", "--no-stdin", *ONE, *more, text).last


def cached(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["cached_tokens"])


@pytest.mark.parametrize("ending", [("models", "unload", "m"), ("daemon", "restart")], ids=["unload", "restart"])
def test_a_sliding_window_prefix_is_reused_after_the_engine_has_ended(sliding: House, ending: tuple[str, ...]) -> None:
    first = ask(sliding, TEXT)
    turn = TEXT + first["text"] + " e t a"
    second = ask(sliding, turn)
    sliding.ok(*ending)
    again = ask(sliding, turn)
    assert cached(again) >= 2000
    assert again["text"] == second["text"]
    sliding.ok(*ending)
    assert cached(ask(sliding, turn + second["text"] + " o i")) >= 2000


def test_a_sliding_window_prefix_is_reused_from_another_slot(sliding: House) -> None:
    first = ask(sliding, TEXT, "--max-tokens", "8")
    talks = ("--raw", "--no-stdin", "--no-cache", "--max-tokens", "1500", "--logit-bias", "2=-100")
    beside = sliding.spawn("ask", *talks, "u o i e a " * 50)
    assert beside.first_byte()
    turn = TEXT + first["text"] + " e t a"
    assert cached(ask(sliding, turn)) >= 2000
    assert beside.end().status == 0


def test_a_sliding_window_prompt_is_reused_after_a_long_answer(sliding: House) -> None:
    ask(sliding, TEXT, "--max-tokens", "1000", "--logit-bias", "2=-100")
    assert cached(ask(sliding, TEXT)) >= 1900


def test_a_sliding_window_needs_no_more_memory_for_a_longer_context(sliding: House) -> None:
    short, long = (
        sliding.ok("models", "estimate", "m", "--json", "--context", str(context)).last["kv_bytes"]
        for context in (2048, 4096)
    )
    cells, values = 6 * 256, 64 * 2
    assert (short, long) == (6 * 2048 * values + cells * values, 6 * 4096 * values + cells * values)
    ask(sliding, "a")
    told = sliding.ok("models", "estimate", "m", "--json").last
    assert abs(told["total_bytes"] / told["measured_bytes"] - 1) <= 0.15, told
