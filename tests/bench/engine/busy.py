"""Beside busy programs: programs that only count, and windows in which nobody else had the processors.

It knows processes and the kernel's account of them; which engine answers meanwhile is not its concern.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.bench.engine.drive import Engine, Prompt

WINDOW_S = 1.5
"""A window lasts so long at least: as many tokens as that takes are asked for, but at least FEW."""
FEW = 3
QUIET = 0.1
"""Processors that others may have in a window. A window with more is measured again, TRIES times in all."""
TRIES = 8
COUNTING = "while True: pass"


@contextmanager
def programs(count: int) -> Iterator[list[int]]:
    """So many busy programs, each in a session of its own, as what a user runs in another terminal is: Linux shares the
    processors among sessions. Yields their process ids."""
    running = [
        subprocess.Popen([sys.executable, "-S", "-c", COUNTING], start_new_session=True, stdin=subprocess.DEVNULL)
        for _ in range(count)
    ]
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


def rate(engine: Engine, prompt: Prompt, least_s: float = WINDOW_S) -> float:
    """Tokens a second of one sequence, once its first token has come: the answers get longer until one lasts `least_s`."""
    with engine.talk() as talk:
        begin = time.perf_counter()
        talk.ask(prompt, 1)
        first = time.perf_counter() - begin
        count = FEW
        while True:
            begin = time.perf_counter()
            talk.ask(prompt, count + 1)
            took = max(time.perf_counter() - begin - first, 1e-6)
            if took >= least_s:
                return count / took
            count = max(2 * count, int(1.2 * count * min(least_s / took, 50)))


class Spent(NamedTuple):
    """Seconds of processors since the machine began: of all programs, and of ours."""

    at: float
    machine: float
    ours: float


class Watch:
    """Knows the processes of a measurement: this one, `roots`, and all that they have started."""

    def __init__(self, roots: Callable[[], Sequence[psutil.Process]]) -> None:
        self._roots = roots

    def look(self) -> Spent:
        known: dict[int, psutil.Process] = {}
        for root in (psutil.Process(), *self._roots()):
            with suppress(psutil.NoSuchProcess):
                known |= {process.pid: process for process in (root, *root.children(recursive=True))}
        ours = 0.0
        for process in known.values():
            with suppress(psutil.NoSuchProcess):
                ours += sum(process.cpu_times()[:2])
        return Spent(time.monotonic(), _machine(), ours)

    def others(self, before: Spent, after: Spent) -> float:
        """How many processors other programs had in between."""
        return max(0.0, (after.machine - before.machine - (after.ours - before.ours)) / (after.at - before.at))

    def quiet(self, measure: Callable[[], float]) -> tuple[float, float]:
        """What `measure` gave in a window in which others had next to nothing, and what they had: of TRIES windows the
        first such, or the one in which they had least."""
        found: list[tuple[float, float]] = []
        while len(found) < TRIES:
            before = self.look()
            value = measure()
            found.append((self.others(before, self.look()), value))
            if found[-1][0] <= QUIET:
                break
        others, value = min(found)
        return value, others


def _machine() -> float:
    """0.0 where the kernel does not tell (then nothing is thrown away)."""
    file = Path("/proc/stat")
    if not file.exists():
        return 0.0
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)
