"""Whether computing beforehand paid: seconds saved against seconds spent for nothing, and the end of it when it does not.

An answer is used when it is asked for within its horizon and served; it is waste when its horizon passes, or when what
was stored before would have been served as well. Pure: every time is given, in seconds since 1970.
"""

import msgspec

REQUESTS = 5
"""The horizon: so many more requests of the same person (the guess said: the next one), ..."""
HORIZON_S = 1800.0
"""... so much time, or the end of the answer's own life, whichever comes first."""
CHANCE = 0.6
"""Of a guess for which something is computed: above one half it gains, and the rest is a margin for what is not known."""
JUDGED, WINDOW = 12, 20
"""It stops when of the last WINDOW answers, JUDGED at least, more seconds were wasted than saved."""
TRIAL, RIGHT = 20, 15
"""While it has stopped it guesses without computing; it goes on when so many of the last TRIAL would have been right, each
time that it stops of twice as many: right guesses are no gain where answers do not last."""
MOST_STOPS = 6
"""From there on not twice as many any more."""
STEPS, LIKELY = 30, 4
"""Where of the last STEPS requests fewer than LIKELY could be guessed with that chance, there is nothing to foretell."""
HOUR_S = 3600.0


class PendingAnswer(msgspec.Struct):
    """An answer that waits to be asked for. `needless_before`: until then an older answer would have been served."""

    person: str
    seconds: float
    until: float
    needless_before: float = 0.0
    left: int = REQUESTS


class Payoff(msgspec.Struct):
    """The whole of it, as it is kept. `stopped`: when; `begun`: the times of those computed within the last hour."""

    prefetched: int = 0
    used: int = 0
    wasted: int = 0
    gain_s: float = 0.0
    waste_s: float = 0.0
    open: dict[str, PendingAnswer] = {}
    recent: list[tuple[float, float]] = []
    """Of the last WINDOW answers: seconds gained, seconds wasted."""
    steps: list[bool] = []
    """Of the last STEPS requests that followed another: whether it was likely enough to be computed for."""
    trial: list[bool] = []
    begun: list[float] = []
    stopped: float | None = None
    stops: int = 0

    # ---- what happens -----------------------------------------------------------------------------------------------

    def computed(self, key: str, entry: PendingAnswer, at: float) -> None:
        """An answer was computed beforehand. One that had been, and still waits, was waste."""
        self.prefetched += 1
        if key in self.open:
            self._waste(self.open.pop(key).seconds, at)
        self.open[key] = entry

    def began(self, at: float) -> None:
        self.begun = [*(time for time in self.begun if time > at - HOUR_S), at]

    def left(self, budget: int, at: float) -> int:
        """How many more may be begun at this time, of `budget` an hour."""
        return max(0, budget - sum(time > at - HOUR_S for time in self.begun))

    def gave_way(self, seconds: float, at: float) -> None:
        """A computation was ended for a user's sake, after so many seconds."""
        self.prefetched += 1
        self._waste(seconds, at)

    def boarded(self, seconds: float, at: float) -> None:
        """A user came while it was being computed, and waited so much less."""
        self.prefetched += 1
        self._gain(seconds)

    def asked(self, person: str, key: str, served: bool, at: float) -> None:
        """A user's request; `served`: from what is stored under its own key."""
        entry = self.open.pop(key, None)
        if entry is not None and served and at >= entry.needless_before:
            self._gain(entry.seconds)
        elif entry is not None:
            self._waste(entry.seconds, at)
        for other in [other for other in self.open.values() if other.person == person]:
            other.left -= 1
        self.sweep(at)

    def sweep(self, at: float) -> None:
        """Writes off what nobody has asked for in time."""
        for key in [key for key, entry in self.open.items() if entry.left <= 0 or entry.until <= at]:
            self._waste(self.open.pop(key).seconds, at)

    def stepped(self, chance: float, right: bool) -> None:
        """One request followed another, which had been guessed with this chance (0: not at all); what came of that."""
        likely = chance >= CHANCE
        self.steps = [*self.steps, likely][-STEPS:]
        if self.stopped is None or not likely:
            return
        self.trial = [*self.trial, right][-self.trials :]
        if len(self.trial) == self.trials and sum(self.trial) * TRIAL >= RIGHT * self.trials:
            self.stopped, self.recent, self.trial = None, [], []

    def forget(self, keys: set[str]) -> None:
        for key in keys & self.open.keys():
            del self.open[key]

    # ---- how it stands ----------------------------------------------------------------------------------------------

    @property
    def trials(self) -> int:
        """How many guesses in a row decide whether it goes on."""
        return int(TRIAL * 2 ** (min(self.stops, MOST_STOPS) - 1)) if self.stops else TRIAL

    @property
    def aimless(self) -> bool:
        """Whether there is nothing to compute for: it goes on by itself as soon as there is."""
        return len(self.steps) == STEPS and sum(self.steps) < LIKELY

    def why(self) -> str | None:
        """Why nothing is computed beforehand, if so."""
        if self.stopped is not None:
            return self._why_stopped()
        if self.aimless:
            return (
                f"nothing to foretell: of the last {STEPS} requests {sum(self.steps)} could be guessed with a chance of "
                f"{CHANCE * 100:.0f} %; it goes on when a request is often enough followed by the same one"
            )
        return None

    def _why_stopped(self) -> str:
        gained, wasted = (sum(seconds) for seconds in zip(*self.recent, strict=True))
        used = sum(gain > 0 for gain, _ in self.recent)
        return (
            f"waste exceeds gain: of the last {len(self.recent)} answers computed beforehand {used} were asked for, "
            f"{wasted:.2f} s were wasted and {gained:.2f} s saved; it goes on when {RIGHT * self.trials // TRIAL} of "
            f"{self.trials} guesses in a row would have been right (now {sum(self.trial)} of {len(self.trial)})"
        )

    def _gain(self, seconds: float) -> None:
        self.used += 1
        self.gain_s += seconds
        self.recent = [*self.recent, (seconds, 0.0)][-WINDOW:]

    def _waste(self, seconds: float, at: float) -> None:
        self.wasted += 1
        self.waste_s += seconds
        self.recent = [*self.recent, (0.0, seconds)][-WINDOW:]
        gained, wasted = (sum(each) for each in zip(*self.recent, strict=True))
        if self.stopped is None and len(self.recent) >= JUDGED and wasted > gained:
            self.stopped, self.trial, self.stops = at, [], self.stops + 1
