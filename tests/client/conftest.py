"""A home for each test, and the fake hub of a test."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from llmctl.client import Client
from llmctl.config import Config
from llmctl.paths import Paths, find_paths
from tests.e2e.house import House
from tests.e2e.house import house as a_house

FAKE = Path(__file__).with_name("fake_hub.py")


class Fake:
    """A fake hub that runs. `seen` are the requests that reached it, as plain values."""

    def __init__(self, house: House, scenario: str) -> None:
        self.paths = find_paths({"LLMCTL_HOME": str(house.place)})
        self.process = subprocess.Popen(
            [sys.executable, str(FAKE), scenario],
            env=house.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith(b'{"pid"'), "it is ready"

    @property
    def seen(self) -> list[dict[str, object]]:
        lines = (self.paths.run / "seen.jsonl").read_bytes().splitlines()
        return [msgspec.json.decode(line) for line in lines]

    @property
    def asked(self) -> dict[str, object]:
        """The last question."""
        return next(request for request in reversed(self.seen) if request["type"] == "generate")

    def kinds(self) -> list[object]:
        return [request["type"] for request in self.seen]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


MakeFake = Callable[..., Fake]


@pytest.fixture
def house() -> Iterator[House]:
    """An empty home; no hub runs."""
    with a_house() as made:
        yield made


@pytest.fixture
def fake(house: House) -> Iterator[MakeFake]:
    """`fake(scenario)` starts the fake hub in `house`."""
    started: list[Fake] = []

    def start(scenario: str = "streams") -> Fake:
        started.append(Fake(house, scenario))
        return started[-1]

    yield start
    for hub in started:
        hub.end()


@pytest.fixture
def paths(house: House) -> Paths:
    return find_paths({"LLMCTL_HOME": str(house.place)})


class Heard(list[str]):
    """The notices of a client."""


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def client(paths: Paths, heard: Heard) -> Iterator[Client]:
    with Client(user="ana", paths=paths, config=Config(), on_notice=heard.append) as made:
        yield made
