"""`llmctl models estimate`: the memory a model will take, before it is loaded, against what it then took."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import odd_gguf, tiny_bert, tiny_gguf, tiny_llama
from tests.e2e.house import House

FIELDS = ["weights_bytes", "kv_bytes", "compute_bytes", "total_bytes", "measured_bytes"]


SETTINGS: dict[str, dict[str, object]] = {
    "b": {"context": 1024, "slots": 2, "retained": 1},
    "c": {"context": 300, "kv_type": "q8_0"},
}


def wide(path: Path) -> None:
    tiny_gguf.write(path, dim=256, layers=4, context=4096)


@pytest.mark.parametrize("write", [wide, odd_gguf.sliding, odd_gguf.recurrent])
def test_an_estimate_is_within_15_percent_of_what_is_then_measured(
    house: House, tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "m.gguf"
    write(path)
    for name, settings in SETTINGS.items():
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
        before = house.ok("models", "estimate", path, *flags, "--json").last
        assert list(before) == FIELDS
        assert before["measured_bytes"] is None
        assert before["total_bytes"] == sum(before[field] for field in FIELDS[:3])
        house.ok("models", "add", name, path, *(f"--set={key}={value}" for key, value in settings.items()))
        assert house.ok("models", "estimate", name, "--json").last == before
        house.ok("models", "load", name)
        after = house.ok("models", "estimate", name, "--json").last
        assert abs(before["total_bytes"] / after["measured_bytes"] - 1) <= 0.15, (name, before, after)
        assert house.ok("models", "estimate", path, *flags, "--json").last == after, (
            "the same file with the same settings"
        )
    house.ok("daemon", "restart")
    assert house.ok("models", "estimate", name, "--json").last == after, "the next hub knows it too"


def test_the_estimate_of_a_transformers_folder_is_within_15_percent_too(house: House, tmp_path: Path) -> None:
    folder = tiny_llama.write(tmp_path / "t")
    house.ok("models", "add", "t", folder, "--set=context=256", "--set=slots=2", "--set=dtype=bfloat16")
    house.ok("models", "load", "t")
    told = house.ok("models", "estimate", "t", "--json").last
    assert abs(told["total_bytes"] / told["measured_bytes"] - 1) <= 0.15, told


def test_more_context_slots_and_prefixes_increase_their_part_of_the_estimate(shared: House, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    wide(path)
    base = ["models", "estimate", str(path), "--json", "--context", "1024", "--slots", "2", "--retained", "0"]
    small = shared.ok(*base).last
    for flags in (["--slots", "4"], ["--retained", "2"], ["--context", "2048"]):
        assert shared.ok(*base, *flags).last["kv_bytes"] == 2 * small["kv_bytes"]
    assert shared.ok(*base, "--kv-type", "q8_0").last["kv_bytes"] == small["kv_bytes"] * 34 // 64
    assert "KV memory" in shared.ok("models", "estimate", path).out


def test_an_echo_model_is_estimated_as_zero_and_a_remote_one_refused(shared: House, tmp_path: Path) -> None:
    assert shared.ok("models", "estimate", "echo", "--json").last == dict.fromkeys(FIELDS[:4], 0) | {
        "measured_bytes": None
    }
    folder = tiny_bert.write(tmp_path / "bert")
    assert shared.ok("models", "estimate", folder, "--json").last["weights_bytes"] > 100_000
    shared.ok("models", "add", "far", "http://127.0.0.1:9/v1", "--force")
    outcome = shared.run("models", "estimate", "far")
    assert outcome.status == 5
    assert "far runs at http://127.0.0.1:9/v1 and uses no memory on this machine" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nobody"], 4, "there is no model 'nobody'"),
        (["/nowhere/m.gguf"], 4, "/nowhere/m.gguf cannot be read"),
        (["echo", "--kv-type", "f8"], 5, "kv_type"),
        (["echo", "--context", "0"], 5, "context"),
        (["echo", "--slots", "many"], 5, "slots"),
    ],
)
def test_a_model_that_cannot_be_estimated_is_refused_with_the_reason(
    shared: House, arguments: list[str], status: int, words: str
) -> None:
    outcome = shared.run("models", "estimate", *arguments)
    assert (outcome.status, words in outcome.err) == (status, True), outcome
