"""The hub is killed at random moments: acknowledged answers are in the history, and nothing stays running."""

import signal
import threading
import time

from tests.e2e.house import House, gone, until, with_signal
from tests.e2e.house import house as a_house
from tests.stress.scale import count, seeded

ROUNDS = 40


def asks(house: House, texts: list[str], answered: list[str]) -> None:
    """Asks one request after the other and notes each complete answer."""
    for text in texts:
        outcome = house.run("ask", text, "--no-cache", "--no-stream", "-q")
        if outcome.status == 0:
            assert outcome.out == text + "\n"
            answered.append(text)
        else:
            assert outcome.status in (3, 9), outcome
            assert "Traceback" not in outcome.err


def test_every_acknowledged_answer_survives_sigkill() -> None:
    dice = seeded()
    with a_house() as house:
        house.echo(token_ms=1)
        for round_ in range(count(ROUNDS)):
            answered: list[str] = []
            askers = [
                threading.Thread(
                    target=asks, args=(house, [f"{round_} {lane} {n} {'x' * 20}" for n in range(4)], answered)
                )
                for lane in range(3)
            ]
            for asker in askers:
                asker.start()
            moment = time.monotonic() + dice.uniform(0.1, 1.5)
            until(lambda moment=moment: time.monotonic() > moment)  # type: ignore[misc]
            if house.hub_runs():
                hub, engines = house.hub(), house.engines()
                with_signal(hub, signal.SIGKILL)
                gone([hub, *engines])
            for asker in askers:
                asker.join()
            house.ok("daemon", "start")
            rows = house.records("prompt, text, state")
            done = {row["text"] for row in rows if row["state"] == "done"}
            assert set(answered) <= done, "an answer that was given is not in the history"
            assert not [row for row in rows if row["state"] == "running"], "a request of the killed hub still runs"
        until(lambda: len(house.daemons()) == 1 + len(house.engines()), what="no engine of a hub that was killed")


def test_a_cache_killed_while_writing_is_consistent_after_restart() -> None:
    dice = seeded()
    with a_house() as house:
        house.echo(context=200_000)
        for round_ in range(count(ROUNDS)):
            asking = [
                house.spawn("ask", f"{round_} {n} {'y' * 50_000}", "--max-tokens", "60000", "-q") for n in range(3)
            ]
            moment = time.monotonic() + dice.uniform(0.1, 1.0)
            until(lambda moment=moment: time.monotonic() > moment)  # type: ignore[misc]
            if house.hub_runs():
                with_signal(house.hub(), signal.SIGKILL)
            for command in asking:
                command.end()
            for n in range(3):
                text = f"{round_} {n} {'y' * 50_000}"
                assert house.ok("ask", text, "--max-tokens", "60000", "-q").out == text + "\n"
        levels = {line["level"]: line for line in house.ok("cache", "stats", "--json").lines}
        assert levels["disk"]["state"] == "ok"
        assert levels["disk"]["errors"] == 0
