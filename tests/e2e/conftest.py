"""Homes and models for the tests that run the installed command."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_gguf
from tests.e2e.house import House, until, wait_for_the_hub
from tests.e2e.house import house as a_house


@pytest.fixture
def house() -> Iterator[House]:
    """An empty home; no hub runs."""
    with a_house() as made:
        yield made


@pytest.fixture
def patient(house: House) -> None:
    """Commands of this house that are interrupted wait for the hub without end: only a second signal ends them sooner."""
    wait_for_the_hub(house)


@pytest.fixture(scope="module")
def shared() -> Iterator[House]:
    """A home with the model `echo` for tests that leave nothing behind that another could notice."""
    with a_house() as made:
        yield made.echo()


@pytest.fixture
def slow(shared: House) -> Iterator[House]:
    """`shared` with the model `slow`, which takes a fifth of a second for a token; nothing runs in it before and after."""
    if not any(line["name"] == "slow" for line in shared.ok("models", "ls", "--json").lines):
        shared.echo("slow", token_ms=200)
    yield shared
    until(lambda: shared.busy("slow") <= 0, what="the end of what the test left running")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file of a few KB with seeded weights and room for 512 tokens."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    tiny_gguf.write(path, seed=7, context=512)
    return path
