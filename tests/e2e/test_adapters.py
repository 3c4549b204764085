"""`--adapter`: LoRA adapters of a model, by the names that its settings give them."""

import json
from pathlib import Path

import pytest

from tests import odd_gguf, tiny_gguf
from tests.e2e.house import House

ONE = ("--temperature", "0", "--max-tokens", "12", "--json", "--no-stream", "-q")


@pytest.fixture
def home(house: House, tmp_path: Path) -> House:
    tiny_gguf.write(tmp_path / "tiny.gguf")
    odd_gguf.lora(tmp_path / "legal.gguf")
    adapters = json.dumps({"legal": str(tmp_path / "legal.gguf"), "gone": str(tmp_path / "gone.gguf")})
    house.ok("models", "add", "tiny", tmp_path / "tiny.gguf", f"--set=adapters={adapters}")
    return house


def test_an_adapter_changes_the_answer_and_the_cache_key(home: House) -> None:
    plain = home.ok("ask", "hello", *ONE).last
    legal = home.ok("ask", "hello", "--adapter", "legal", *ONE).last
    weak = home.ok("ask", "hello", "--adapter", "legal=0.25", *ONE).last
    assert len({answer["text"] for answer in (plain, legal, weak)}) == 3
    assert len({answer["cache"]["key"] for answer in (plain, legal, weak)}) == 3
    again = home.ok("ask", "hello", "--adapter", "legal=1.0", *ONE).last
    assert (again["text"], again["cache"]["hit"]) == (legal["text"], "memory")


def test_adapters_may_be_set_in_the_configuration(home: House, tmp_path: Path) -> None:
    (home.place / "config.toml").write_text(f'[models.tiny.adapters]\nother = "{tmp_path / "legal.gguf"}"\n')
    home.ok("daemon", "restart")
    assert home.run("ask", "hello", "--adapter", "other", *ONE).status == 0


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ("legel", 5, "no adapter 'legel'"),
        ("gone", 4, "gone.gguf"),
        ("legal=strong", 2, "NAME=SCALE"),
        ("legal=1000", 5, "scales between -100 and 100"),
    ],
)
def test_an_invalid_adapter_option_is_refused_with_its_reason(home: House, given: str, status: int, words: str) -> None:
    outcome = home.run("ask", "hello", "--adapter", given)
    assert (outcome.status, outcome.out) == (status, "")
    assert words in outcome.err


def test_an_adapters_setting_that_is_not_a_mapping_is_refused(house: House, tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "tiny.gguf")
    outcome = house.run("models", "add", "tiny", tmp_path / "tiny.gguf", "--set=adapters=legal.gguf")
    assert outcome.status == 5
    assert "JSON object" in outcome.err
