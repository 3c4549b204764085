"""Whether prefetch pays: seconds saved against seconds wasted. Stops it when it does not.

A prefetched answer is used if it is requested within its horizon and served; it is waste if the horizon passes, or if
an older answer would have been served as well. Pure: times are arguments, in Unix time.
"""

import msgspec

REQUESTS = 5
"""The horizon: this many further requests of the same person (the prediction was: the next one), ..."""
HORIZON_S = 1800.0
"""... or this many seconds, or the expiry of the answer, whichever comes first."""
CHANCE = 0.6
"""Minimum probability of a prediction to compute it. Above 0.5 it gains; the rest is a safety margin."""
JUDGED, WINDOW = 12, 20
"""Prefetch stops if more seconds were wasted than saved in the last WINDOW answers, of which there must be JUDGED."""
TRIAL, RIGHT = 20, 15
"""While stopped it predicts without computing. It resumes when RIGHT of the last TRIAL predictions would have been
correct; TRIAL doubles with each stop, since correct predictions gain nothing if answers do not last.
"""
MOST_STOPS = 6
"""Stops after which TRIAL doubles no further."""
STEPS, LIKELY = 30, 4
"""If fewer than LIKELY of the last STEPS requests were predicted with that probability, there is nothing to predict."""
HOUR_S = 3600.0


class PendingAnswer(msgspec.Struct):
    """A prefetched answer not yet requested. `needless_before`: until then an older answer would have been served."""

    person: str
    seconds: float
    until: float
    needless_before: float = 0.0
    left: int = REQUESTS


class Payoff(msgspec.Struct):
    """The stored state. `stopped`: time of the stop; `begun`: times of the computations of the last hour."""

    prefetched: int = 0
    used: int = 0
    wasted: int = 0
    gain_s: float = 0.0
    waste_s: float = 0.0
    open: dict[str, PendingAnswer] = {}
    recent: list[tuple[float, float]] = []
    """(seconds gained, seconds wasted) of the last WINDOW answers."""
    steps: list[bool] = []
    """For the last STEPS follow-up requests: whether it was predicted with enough probability."""
    trial: list[bool] = []
    begun: list[float] = []
    stopped: float | None = None
    stops: int = 0

    # ---- events -----------------------------------------------------------------------------------------------------

    def add_prefetched(self, key: str, entry: PendingAnswer, at: float) -> None:
        """An answer was prefetched. An unused earlier one for the key was waste."""
        self.prefetched += 1
        if key in self.open:
            self._waste(self.open.pop(key).seconds, at)
        self.open[key] = entry

    def add_start(self, at: float) -> None:
        self.begun = [*(time for time in self.begun if at - HOUR_S < time <= at), at]

    def starts_left(self, budget: int, at: float) -> int:
        """Computations that may still start at this time, of `budget` per hour."""
        return max(0, budget - sum(at - HOUR_S < time <= at for time in self.begun))

    def add_cancelled(self, seconds: float, at: float) -> None:
        """A computation was cancelled for a user's request after so many seconds."""
        self.prefetched += 1
        self._waste(seconds, at)

    def add_joined(self, seconds: float, at: float) -> None:
        """A user's request joined the running computation and waited so many seconds less."""
        self.prefetched += 1
        self._gain(seconds)

    def add_request(self, person: str, key: str, served: bool, at: float) -> None:
        """A user's request. `served`: from the answer stored under its own key."""
        entry = self.open.pop(key, None)
        if entry is not None and served and at >= entry.needless_before:
            self._gain(entry.seconds)
        elif entry is not None:
            self._waste(entry.seconds, at)
        for other in [other for other in self.open.values() if other.person == person]:
            other.left -= 1
        self.sweep(at)

    def sweep(self, at: float) -> None:
        """Counts answers that were not requested in time as waste. Drops those of the future: the clock was set back."""
        self.open = {key: entry for key, entry in self.open.items() if entry.until <= at + 2 * HORIZON_S}
        for key in [key for key, entry in self.open.items() if entry.left <= 0 or entry.until <= at]:
            self._waste(self.open.pop(key).seconds, at)

    def add_prediction(self, chance: float, right: bool) -> None:
        """A follow-up request that was predicted with this probability (0: not at all), and whether the prediction was
        correct.
        """
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

    # ---- state ------------------------------------------------------------------------------------------------------

    @property
    def trials(self) -> int:
        """Consecutive predictions that decide about resuming."""
        return int(TRIAL * 2 ** (min(self.stops, MOST_STOPS) - 1)) if self.stops else TRIAL

    @property
    def has_nothing_to_predict(self) -> bool:
        """Whether there is nothing to predict. Ends by itself."""
        return len(self.steps) == STEPS and sum(self.steps) < LIKELY

    def stop_reason(self) -> str | None:
        """Why prefetch is stopped, if it is."""
        if self.stopped is not None:
            return self._why_stopped()
        if self.has_nothing_to_predict:
            return (
                f"nothing to predict: of the last {STEPS} requests {sum(self.steps)} could be predicted with a probability of "
                f"{CHANCE * 100:.0f} %; it resumes when requests follow each other often enough"
            )
        return None

    def _why_stopped(self) -> str:
        gained, wasted = (sum(seconds) for seconds in zip(*self.recent, strict=True))
        used = sum(gain > 0 for gain, _ in self.recent)
        return (
            f"waste exceeds gain: of the last {len(self.recent)} prefetched answers {used} were requested, "
            f"{wasted:.2f} s were wasted and {gained:.2f} s saved; it resumes when {RIGHT * self.trials // TRIAL} of "
            f"{self.trials} consecutive predictions would have been correct (now {sum(self.trial)} of {len(self.trial)})"
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
