"""Chooses the number of threads per step: all that the model may use, or fewer while other programs need the processors.

Callers pass in counts and times; this module reads no clock. Threads synchronise hundreds of times per step, so one thread that
shares its processor delays all of them. Whether fewer threads are faster is found by trying.
"""

from llmctld.engine.cost.step_cost import StepCost

CROWDED = 0.8
"""Below this share of processor time per thread, other programs are assumed to compete. On an idle machine it is 0.95 to 0.98."""
FEWER_AT_MOST, MORE_AT_MOST = 0.9, 1.0
"""Fewer threads are kept if they take at most FEWER_AT_MOST of the current time; more threads if at most MORE_AT_MOST. On a tie
the larger number wins."""
WORTH = 0.8
"""Thread counts below WORTH x (processors actually available) are not tried: they could not be faster."""
ROUND_STEPS, ROUND_MS = 2, 25.0
"""Minimum steps and minimum milliseconds of a round. A step of a small model fits into one time slice of the kernel (a few ms)
and shows nothing."""
HOPELESS = 2.0
"""A trial that is this many times slower ends after its first step."""
FIRST_WAIT, LAST_WAIT = 8, 64
"""Rounds between a failed trial and the next in that direction; doubled up to LAST_WAIT."""
SETTLED = 2
"""Rounds before the very first trial: the first steps of a model wait for its file."""
FORGIVEN = 0.8
"""The wait shrinks to this share after each round without competition."""


class TrialRound:
    """Several steps with the same number of threads: measured time relative to expected time."""

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
    """Number of threads for one kind of step. Starts with `most`; with `fewer=False` it never changes."""

    def __init__(self, most: int, fewer: bool = True) -> None:
        self._ladder = ladder(most) if fewer else [most]
        self._rung = 0
        self._trial = 0
        """Rungs below the current number that the trial uses; -1 is one above; 0 is no trial."""
        self._round = TrialRound()
        self._slowness = 0.0
        """Of the last round with the current number."""
        self._fewer, self._more = TrialWait(SETTLED), TrialWait(0)
        self._reach = 1
        """Rungs below that the next trial uses: where two processors are taken, one thread fewer does not help."""
        self._cost = StepCost()

    @property
    def count(self) -> int:
        """Number of threads for the next step."""
        return self._ladder[self._rung + self._trial]

    def measured(self, passes: int, rows: int, ms: float, share: float) -> None:
        """Record a step with `count` threads. `share`: fraction of `ms` for which the threads had processors."""
        if len(self._ladder) == 1:
            return
        expected_ms = self._cost.estimate(passes, rows) if self._cost.known else ms
        self._round.add(expected_ms, ms, share)
        if not self._trial:
            self._cost.learn(passes, rows, ms)
        if self._round.over or (self._trial and self._round.slowness > HOPELESS * self._slowness):
            done, self._round = self._round, TrialRound()
            self._judge(done) if self._trial else self._look(done)

    def _look(self, done: TrialRound) -> None:
        """After a normal round: decide whether to try another number."""
        self._slowness = done.slowness
        self._fewer.rounds += 1
        self._more.rounds += 1
        if done.share >= CROWDED:
            self._fewer.add_quiet_round()
        elif self._fewer.over and (below := self._below(done.share)):
            self._trial = min(self._reach, below)
            self._reach = self._reach + 1 if self._reach < below else 1
            return
        if self._more.over and self._rung:
            self._trial = -1

    def _below(self, share: float) -> int:
        """Number of lower rungs that are worth a trial."""
        least = WORTH * share * self.count
        return sum(number >= least for number in self._ladder[self._rung + 1 :])

    def _judge(self, done: TrialRound) -> None:
        """After a trial round: keep the number on trial, or return to the one before."""
        trial, self._trial = self._trial, 0
        if done.slowness <= (FEWER_AT_MOST if trial > 0 else MORE_AT_MOST) * self._slowness:
            self._rung += trial
            self._reach = 1
            self._fewer, self._more = (
                (TrialWait(0), TrialWait(FIRST_WAIT)) if trial > 0 else (TrialWait(FIRST_WAIT), TrialWait(0))
            )
        elif trial > 0:
            self._fewer.fail(longer=self._reach == 1)  # only after all lower rungs have failed
        else:
            self._more.fail()


class TrialWait:
    """Rounds until the next trial in one direction."""

    def __init__(self, least: float) -> None:
        self._least = least
        self.rounds = 0

    @property
    def over(self) -> bool:
        return self.rounds > self._least

    def fail(self, longer: bool = True) -> None:
        self._least = min(max(2 * self._least if longer else self._least, FIRST_WAIT), LAST_WAIT)
        self.rounds = 0

    def add_quiet_round(self) -> None:
        """Record a round without competition, so that the next competition starts a trial sooner."""
        self._least *= FORGIVEN


def ladder(most: int) -> list[int]:
    """Numbers of threads to try, descending: `most`, one and two fewer, quarters, and one."""
    rungs = {most, most - 1, most - 2, *(most * quarters // 4 for quarters in (3, 2, 1)), 1}
    return sorted((rung for rung in rungs if rung > 0), reverse=True)
