"""`llmctl models estimate`: what a model will take, told before it is loaded, and what it then took."""

from pathlib import Path

import pytest

from tests import tiny_bert, tiny_gguf
from tests.e2e.house import House

FIELDS = ["weights_bytes", "kv_bytes", "compute_bytes", "total_bytes", "measured_bytes"]


def wide(path: Path) -> None:
    tiny_gguf.write(path, dim=256, layers=4, context=4096)


def test_more_context_slots_and_prefixes_take_more_and_are_told_apart(shared: House, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    wide(path)
    base = ["models", "estimate", str(path), "--json", "--context", "1024", "--slots", "2", "--retained", "0"]
    small = shared.ok(*base).last
    for flags in (["--slots", "4"], ["--retained", "2"], ["--context", "2048"]):
        assert shared.ok(*base, *flags).last["kv_bytes"] == 2 * small["kv_bytes"]
    assert shared.ok(*base, "--kv-type", "q8_0").last["kv_bytes"] == small["kv_bytes"] * 34 // 64
    assert "KV memory" in shared.ok("models", "estimate", path).out


def test_what_needs_no_memory_here_and_what_lies_elsewhere(shared: House, tmp_path: Path) -> None:
    assert shared.ok("models", "estimate", "echo", "--json").last == dict.fromkeys(FIELDS[:4], 0) | {
        "measured_bytes": None
    }
    folder = tiny_bert.write(tmp_path / "bert")
    assert shared.ok("models", "estimate", folder, "--json").last["weights_bytes"] > 100_000
    shared.ok("models", "add", "far", "http://127.0.0.1:9/v1", "--force")
    outcome = shared.run("models", "estimate", "far")
    assert outcome.status == 5
    assert "far runs at http://127.0.0.1:9/v1: it takes no memory here" in outcome.err


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
def test_what_cannot_be_estimated_is_said(shared: House, arguments: list[str], status: int, words: str) -> None:
    outcome = shared.run("models", "estimate", *arguments)
    assert (outcome.status, words in outcome.err) == (status, True), outcome
