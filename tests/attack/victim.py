"""The hub that is attacked: a real one in a home of its own, with an echo model, which must be the same process afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from llmctl import wire
from tests.attack.attack import Trial
from tests.e2e.dealer import Dealer
from tests.e2e.house import House
from tests.e2e.house import house as a_house

MIB = 2**20
FLAT = 16 * MIB
"""By how much the hub's memory may differ after an attack: pools, and buffers of connections."""


@contextmanager
def victim(**variables: str) -> Iterator[House]:
    """Raises AssertionError if the hub has died or answers no more. Nothing that it is asked to fetch leaves loopback."""
    with a_house(HF_ENDPOINT="http://127.0.0.1:1", HF_HUB_OFFLINE="1", **variables) as made:
        made.echo()
        answers(made)
        pid = made.hub().pid
        yield made
        answers(made)
        assert made.hub().pid == pid, "the hub died and was started again"


def answers(house: House) -> None:
    """The hub still answers."""
    with Dealer(house.socket) as dealer:
        reply = dealer.ask(wire.Generate(prompt="alive", model="echo", cache="skip"))
    assert isinstance(reply, wire.Done), reply
    assert isinstance(reply.result, wire.Answer)
    assert reply.result.text == "alive"


def memory(house: House) -> int:
    return int(house.hub().memory_info().rss)


def memory_stays(trial: Trial, before: int, after: int, most: int = FLAT) -> None:
    """Notes both figures, and a growth of more than `most` bytes as not held."""
    trial.measured.append(f"memory {before // MIB} -> {after // MIB} MiB")
    trial.check(after < before + most, f"the hub's memory grew from {before // MIB} to {after // MIB} MiB")
