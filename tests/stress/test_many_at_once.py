"""Many first commands at once: one hub, no lock error, no lost row, no lost answer."""

from tests.e2e.house import PATIENCE_S
from tests.e2e.house import house as a_house
from tests.stress.scale import count

ROUNDS = 20


def test_thirty_two_concurrent_first_commands_start_one_hub_and_lose_nothing() -> None:
    for _ in range(count(ROUNDS)):
        with a_house() as house:
            house.echo().stop()
            assert house.ended()
            outcome = house.shell(
                "seq 32 | xargs -P 32 -I{} llmctl ask 'number {}' --no-stdin --no-stream", timeout=4 * PATIENCE_S
            )
            assert outcome.status == 0, outcome
            assert sorted(outcome.out.splitlines()) == sorted(f"number {n}" for n in range(1, 33))
            assert sorted(row["state"] for row in house.records()) == ["done"] * 32
            assert len(house.daemons()) == 1 + len(house.engines())
