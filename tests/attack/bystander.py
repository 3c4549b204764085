"""Another client that asks the hub from the cache during an attack, in a process of its own, and measures each answer.

Run as `python -m tests.attack.bystander SOCKET`, it asks until its stdin ends, then prints the times as JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select

from llmctl import wire
from tests.attack.attack import Trial
from tests.e2e.dealer import Dealer
from tests.e2e.house import PATIENCE_S, REPOSITORY, House

QUESTION = "which answer is stored"
PAUSE_S = 0.005
"""Between two questions, so that the bystander is no flood itself."""
P99_MS = 100.0
"""What another client may wait meanwhile, at the 99th percentile."""


@dataclass
class Seen:
    """The time of each answer in ms, sorted; known after the block."""

    times: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        return self.times[min(len(self.times) - 1, int(len(self.times) * percent / 100))]

    def report(self, trial: Trial) -> None:
        p99 = self.percentile(99)
        trial.measured.append(f"{len(self.times)} answers to others meanwhile, p99 {p99:.1f} ms")
        trial.check(p99 < P99_MS or not trial.timed, f"p99 of other clients: {p99:.1f} ms")


@contextmanager
def bystander(house: House) -> Iterator[Seen]:
    """Asks while the block runs. Raises AssertionError if an answer was wrong or did not come."""
    seen = Seen()
    line = [sys.executable, "-m", "tests.attack.bystander", str(house.socket)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "asking\n"
            yield seen
        except BaseException:
            process.kill()
            raise
        process.stdin.close()
        seen.times = json.loads(process.stdout.read() or "null")
        assert process.wait(PATIENCE_S) == 0


def ask(dealer: Dealer) -> None:
    reply = dealer.ask(wire.Generate(prompt=QUESTION, model="echo"))
    assert isinstance(reply, wire.Done), reply
    assert isinstance(reply.result, wire.Answer)
    assert reply.result.text == QUESTION


def main() -> None:
    times: list[float] = []
    with Dealer(Path(sys.argv[1])) as dealer:
        ask(dealer)
        sys.stdout.write("asking\n")
        sys.stdout.flush()
        while not times or not select([sys.stdin], [], [], PAUSE_S)[0]:
            start = time.perf_counter()
            ask(dealer)
            times.append(round((time.perf_counter() - start) * 1000, 3))
    sys.stdout.write(json.dumps(sorted(times)))


if __name__ == "__main__":
    main()
