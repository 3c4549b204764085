"""The engine is killed at random moments under load: the hub stays up, and each request is answered or fails clearly."""

import signal
import threading
import time
from pathlib import Path

from tests import tiny_gguf
from tests.e2e.house import PATIENCE_S, House, Outcome, until, with_signal
from tests.e2e.house import house as a_house
from tests.stress.scale import count, seeded

ROUNDS, CLIENTS = 40, 4


def test_an_engine_killed_under_load_fails_only_requests_that_had_begun(tmp_path: Path) -> None:
    dice = seeded()
    path = tmp_path / "tiny.gguf"
    tiny_gguf.write(path, seed=7, context=2048, layers=2, dim=64)
    with a_house() as house:
        house.ok("models", "add", "tiny", path, "--set=slots=3", "--set=kv_type=f32", "--set=flash_attention=false")
        expected = {n: ask(house, n).last["text"] for n in range(CLIENTS)}
        hub = house.hub().pid
        for _ in range(count(ROUNDS)):
            house.ok("models", "load", "tiny")  # one that is killed while it loads is another matter, and status 4
            outcomes: dict[int, Outcome] = {}
            askers = [threading.Thread(target=note, args=(house, n, outcomes)) for n in range(CLIENTS)]
            for asker in askers:
                asker.start()
            moment = time.monotonic() + dice.uniform(0.0, 2.0)
            until(lambda moment=moment: time.monotonic() > moment)  # type: ignore[misc]
            for engine in house.engines():
                with_signal(engine, signal.SIGKILL)
            for asker in askers:
                asker.join()
            for n, outcome in outcomes.items():
                assert outcome.status in (0, 9), outcome
                if outcome.status == 0:
                    assert outcome.last["text"] == expected[n]
                else:
                    assert outcome.last["text"], "what had no token yet is computed again"
                    assert expected[n].startswith(outcome.last["text"])
            assert house.hub().pid == hub
            assert house.status()["requests_in_flight"] == 0
            assert house.busy("tiny") in (0, -1)
        assert house.ok("daemon", "doctor", timeout=4 * PATIENCE_S).status == 0


def note(house: House, n: int, outcomes: dict[int, Outcome]) -> None:
    outcomes[n] = ask(house, n)


def ask(house: House, n: int) -> Outcome:
    return house.run(
        "ask", f"story number {n} " * 10, "--max-tokens", "150", "--temperature", "0", "--no-cache", "--no-stream",
        "--json", "-q",
    )  # fmt: skip
