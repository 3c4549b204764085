"""How many threads compute a step: all that a model may have, or fewer while other programs want the processors too.

It knows counts and times that are handed to it, and no clock. Threads wait for each other hundreds of times in a step, so one
that has to share its processor holds up all of them, and fewer that share with nobody may be faster: that is found by trying.
"""

from llmctld.engine.cost.step_cost import StepCost

CROWDED = 0.8
"""The share of a step's time for which its threads had processors, below which others are thought to want them. With nobody
else it is 0.95 to 0.98 where all threads have work."""
FEWER_AT_MOST, MORE_AT_MOST = 0.9, 1.0
"""Of the time as it is, what fewer and what more threads must take to be kept: where both are equal it is the larger number."""
WORTH = 0.8
"""Fewer threads than so many of the processors that all of them really had are not tried: they could not have as much."""
ROUND_STEPS, ROUND_MS = 2, 25.0
"""A round has both at least: a step of a small model lies within a time slice of the kernel (a few ms), and tells nothing."""
HOPELESS = 2.0
"""Times as long as now: a trial that has come to this ends after its first step."""
FIRST_WAIT, LAST_WAIT = 8, 64
"""Rounds after a trial that brought nothing until the next one in that direction; they double up to the last."""
SETTLED = 2
"""Rounds until the first trial of all: a model's first steps wait for its file."""
FORGIVEN = 0.8
"""What remains of that wait after each round in which nobody wanted the processors."""


class Round:
    """A few steps with the same number of threads: what they took for each millisecond that was expected of them."""

    def __init__(self) -> None:
        self._steps = 0
        self._expected_ms = self._ms = self._had_ms = 0.0

    def add(self, expected_ms: float, ms: float, share: float) -> None:
        self._steps += 1
        self._expected_ms += expected_ms
        self._ms += ms
        self._had_ms += ms * share

    @property
    def over(self) -> bool:
        return self._steps >= ROUND_STEPS and self._ms >= ROUND_MS

    @property
    def slowness(self) -> float:
        return self._ms / max(self._expected_ms, 1e-9)

    @property
    def share(self) -> float:
        return self._had_ms / max(self._ms, 1e-9)


class Threads:
    """Of steps of one kind. It begins with `most`, and without `fewer` that is all."""

    def __init__(self, most: int, fewer: bool = True) -> None:
        self._ladder = ladder(most) if fewer else [most]
        self._rung = 0
        self._trial = 0
        """How many rungs further down the number on trial stands; -1: one up."""
        self._round = Round()
        self._slowness = 0.0
        """Of the last round with the present number."""
        self._fewer, self._more = Wait(SETTLED), Wait(0)
        self._reach = 1
        """How many rungs down the next trial goes: where two processors are taken, one thread fewer brings nothing."""
        self._cost = StepCost()

    @property
    def count(self) -> int:
        """Of the next step."""
        return self._ladder[self._rung + self._trial]

    def measured(self, passes: int, rows: int, ms: float, share: float) -> None:
        """A step with `count` threads took so long; `share`: of that time, for how much of it they had processors."""
        if len(self._ladder) == 1:
            return
        expected_ms = self._cost.estimate(passes, rows) if self._cost.known else ms
        self._round.add(expected_ms, ms, share)
        if not self._trial:
            self._cost.learn(passes, rows, ms)
        if self._round.over or (self._trial and self._round.slowness > HOPELESS * self._slowness):
            done, self._round = self._round, Round()
            self._judge(done) if self._trial else self._look(done)

    def _look(self, done: Round) -> None:
        """After a round as usual: is it time to try another number?"""
        self._slowness = done.slowness
        self._fewer.rounds += 1
        self._more.rounds += 1
        if done.share >= CROWDED:
            self._fewer.forgive()
        elif self._fewer.over and (below := self._below(done.share)):
            self._trial = min(self._reach, below)
            self._reach = self._reach + 1 if self._reach < below else 1
            return
        if self._more.over and self._rung:
            self._trial = -1

    def _below(self, share: float) -> int:
        """How many of the rungs further down are worth a trial."""
        least = WORTH * share * self.count
        return sum(number >= least for number in self._ladder[self._rung + 1 :])

    def _judge(self, done: Round) -> None:
        """After a round on trial: that number from now on, or back to the one before."""
        trial, self._trial = self._trial, 0
        if done.slowness <= (FEWER_AT_MOST if trial > 0 else MORE_AT_MOST) * self._slowness:
            self._rung += trial
            self._reach = 1
            self._fewer, self._more = (Wait(0), Wait(FIRST_WAIT)) if trial > 0 else (Wait(FIRST_WAIT), Wait(0))
        elif trial > 0:
            self._fewer.fail(longer=self._reach == 1)  # only when all of them have failed
        else:
            self._more.fail()


class Wait:
    """How many rounds it is until the next trial in one direction."""

    def __init__(self, least: float) -> None:
        self._least = least
        self.rounds = 0

    @property
    def over(self) -> bool:
        return self.rounds > self._least

    def fail(self, longer: bool = True) -> None:
        self._least = min(max(2 * self._least if longer else self._least, FIRST_WAIT), LAST_WAIT)
        self.rounds = 0

    def forgive(self) -> None:
        """A round in which nobody wanted the processors: as soon as somebody does, there is a trial."""
        self._least *= FORGIVEN


def ladder(most: int) -> list[int]:
    """The numbers that are tried, each beside its neighbours: one and two fewer, then by quarters, and one alone."""
    rungs = {most, most - 1, most - 2, *(most * quarters // 4 for quarters in (3, 2, 1)), 1}
    return sorted((rung for rung in rungs if rung > 0), reverse=True)
