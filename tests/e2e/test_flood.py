"""One client sends requests as fast as it can: other clients are answered meanwhile, and the log stays readable."""

import json

from llmctl import wire
from tests.e2e.dealer import Dealer
from tests.e2e.house import House

REQUESTS = 20_000
OTHERS = 5


def uptime(reply: wire.AnyReply) -> float:
    """When a `Status` was served, by the hub's own clock."""
    assert isinstance(reply, wire.Done)
    assert isinstance(reply.result, wire.HubStatus)
    return reply.result.uptime_s


def test_a_flood_of_status_requests_leaves_the_hub_free_for_others_and_is_counted_in_the_log(house: House) -> None:
    house.echo()
    with Dealer(house.socket) as flood, Dealer(house.socket) as other:
        other.ask(wire.Generate(prompt="x", model="echo"))
        for _ in range(REQUESTS - 1):
            flood.send(wire.Status())
        last = flood.send(wire.Status())
        others = []
        for number in range(OTHERS):
            assert isinstance(other.ask(wire.Generate(prompt=f"x {number}", model="echo")), wire.Done)
            others.append(uptime(other.ask(wire.Status())))
        assert max(others) < uptime(flood.receive(last)), "the hub served the others first"
    house.stop()
    lines = [json.loads(line) for line in house.log.read_text().splitlines()]
    status = [line for line in lines if line.get("kind") == "Status"]
    counted = [line for line in status if "repeated" in line["event"]]
    assert counted
    assert all(line["level"] == "info" and "request" not in line for line in counted)
    total = sum(int(line["event"].split()[-2].replace(",", "")) for line in counted) + len(status) - len(counted)
    assert total >= REQUESTS + OTHERS, "nothing is lost"
    assert len(lines) < REQUESTS / 10
    assert [line for line in lines if line.get("kind") == "Generate" and line["outcome"] == "done"]
