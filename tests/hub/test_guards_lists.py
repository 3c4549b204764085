"""The guards on two independently written lists: sixty opposites, sixty paraphrases.

In the first run, before any guard was corrected, 57 opposites and 4 paraphrases were refused (docs/decisions.md).
"""

import json
from pathlib import Path

import pytest
from llmctld.semantic.guards.refusal import refusal


def pairs(name: str) -> list[tuple[str, str]]:
    lines = (Path(__file__).parent / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [(pair["a"], pair["b"]) for pair in map(json.loads, lines)]


@pytest.mark.parametrize("pair", pairs("opposites"), ids=str)
def test_opposites_are_refused(pair: tuple[str, str]) -> None:
    assert refusal(*pair) is not None


def test_paraphrases_pass() -> None:
    refused = {pair: refusal(*pair) for pair in pairs("paraphrases") if refusal(*pair) is not None}
    assert not refused
