"""What an attack is: a function that is run a number of times against the real product, and what it reports.

It knows nothing of any surface; each file in surfaces/ has the attacks on one.
"""

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from tests.stress.scale import count as scaled


class NotHere(Exception):
    """The attack cannot be played on this machine; the text says what it needs."""


@dataclass
class Trial:
    """One run of an attack. `count` is how often to attack, `dice` the only source of chance."""

    count: int
    dice: random.Random
    timed: bool = False
    """Whether figures of time count: in `make attack`, never in `make test`."""
    fell: list[str] = field(default_factory=list)
    """What did not hold, a line each. An exception says the same of the whole attack."""
    measured: list[str] = field(default_factory=list)
    """Figures for the table, such as `p99 12 ms`."""

    def check(self, held: bool, what: str) -> None:
        """Notes `what` as not held, and continues: for attacks whose other cases are worth knowing."""
        if not held:
            self.fell.append(what)


@dataclass(frozen=True)
class Attack:
    """`run` attacks `Trial.count` times. `limit_s` ends an attack that hangs."""

    name: str
    count: int
    """In `make attack`; `make test` runs a twentieth."""
    run: Callable[[Trial], None]
    limit_s: int = 3600
    at_least: int = 1
    """A twentieth is never less than this."""
    part: int | None = None
    """In `make test`, if a twentieth takes too long there."""


@dataclass(frozen=True)
class Result:
    """A row of the final table."""

    surface: str
    attack: Attack
    trial: Trial
    missing: str = ""
    """Why it was not played here."""

    @property
    def held(self) -> bool:
        return not self.trial.fell

    @property
    def verdict(self) -> str:
        return f"not played: {self.missing}" if self.missing else "held" if self.held else "DID NOT HOLD"


def play(surface: str, attack: Attack, seed: int, whole: bool) -> Result:
    """Runs one attack. Its chance depends on the seed and its name alone, so one row repeats without the others."""
    number = attack.count if whole else attack.part or max(attack.at_least, scaled(attack.count))
    trial = Trial(number, random.Random(f"{seed} {surface} {attack.name}"), timed=whole)
    try:
        with ended_after(attack.limit_s):
            attack.run(trial)
    except NotHere as missing:
        return Result(surface, attack, trial, str(missing))
    except Exception as error:  # noqa: BLE001 - the other attacks follow
        trial.fell.append(f"{type(error).__name__}: {error}")
    return Result(surface, attack, trial)


@contextmanager
def ended_after(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in the block, which must run in the main thread."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no end within {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    left = signal.alarm(seconds)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.alarm(left)
