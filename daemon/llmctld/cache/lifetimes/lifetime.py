"""Predicts how long an answer stays valid, from recomputations of it and of others of its kind.

A recomputation shows whether the answer changed within its age. That gives the probability of each rate of change, and
with the rate of requests the lifetime for which recomputing and serving stale answers cost least together. Pure: no
clock, no file.
"""

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from llmctld.cache.lifetimes.question_kinds import ARITHMETIC, CODE, TEXT, TIME

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
START = {TIME: HOUR, TEXT: 30 * DAY, CODE: 90 * DAY, ARITHMETIC: 365 * DAY}
"""Initial lifetime per kind."""
LASTING = {TIME: 0.15, TEXT: 0.94, CODE: 0.98, ARITHMETIC: 0.998}
"""Prior probability that an answer never changes: that for which `Lifetimes.predict` gives START while nothing is known."""

STALE = 4.0
"""Cost of serving a stale answer, in recomputations."""
MEANS = tuple(math.ldexp(HOUR, power) for power in range(-6, 14))
"""Hypotheses for the mean time until an answer changes, in seconds: one minute to eleven months, each twice the last;
then never.
"""
SPANS = tuple(min(HOUR * math.pow(2.0, power / 2), 365 * DAY) for power in range(-12, 27))
"""Lifetimes to choose from."""
SURPRISE = 0.001
"""Probability of an observation that a hypothesis excludes, such as an answer that changed back."""
BELIEF = 2.0
"""Weight of the prior of a kind, in keys."""
WITNESSES = 8
"""Most recent observations of a key that count; older ones may be outdated."""
FICKLE, FICKLE_KEYS = 0.8, 12
"""A model that changed more than FICKLE of FICKLE_KEYS answers within an hour rewords every answer: its changes say
nothing about time and are ignored.
"""
PATIENCE = 0.99
"""Factor by which older evidence counts less with each recomputation: a kind's request rate, and a model's share of changes."""
KEYS = 10_000
"""Keys with observations, those observed last."""
PROBES, PROBED = 4, 64
"""One key in PROBES is recomputed early while its kind has fewer than PROBED observations."""


class Observation(NamedTuple):
    """One recomputation. `age`: seconds since the previous answer was computed."""

    age: float
    changed: bool


class Lifetime(NamedTuple):
    """`seconds`: predicted lifetime. `probe`: seconds after which it is recomputed early to learn, or None."""

    seconds: float
    kind: str
    learned: bool
    probe: float | None
    observations: tuple[Observation, ...]
    kind_observations: int

    @property
    def holds(self) -> float:
        """Seconds that the answer is served."""
        return self.seconds if self.probe is None else min(self.seconds, self.probe)


def _stale(mean: float, span: float) -> float:
    """Expected stale seconds within `span` for an answer that changes with this mean."""
    return span - mean * -math.expm1(-span / mean)


_STALE = [[*(_stale(mean, span) for mean in MEANS), 0.0] for span in SPANS]


def _beforehand(kind: str) -> list[float]:
    """Prior weights of the hypotheses: a broad distribution around a mean that fits START."""
    middle, never = math.log2(8 * START[kind]), LASTING[kind]
    near = [math.exp(-abs(math.log2(mean) - middle) / 4) for mean in MEANS]
    scale = BELIEF * (1 - never) / sum(near)
    return [*(weight * scale for weight in near), BELIEF * never]


def likelihood(observations: Sequence[Observation]) -> list[float]:
    """Likelihood of each hypothesis."""
    found = [1.0] * (len(MEANS) + 1)
    for age, changed in observations:
        for index, mean in enumerate(MEANS):
            same = min(max(math.exp(-age / mean), SURPRISE), 1 - SURPRISE)
            found[index] *= 1 - same if changed else same
        found[-1] *= SURPRISE if changed else 1 - SURPRISE
    return found


def best_span(weights: Sequence[float], rate: float) -> float:
    """The lifetime with the lowest cost per second, for an entry requested `rate` times per second.

    One cycle is `span` plus the wait for the next request; it costs one computation, and STALE for each expected stale
    answer.
    """

    def cost(index: int) -> float:
        stale = sum(weight * seconds for weight, seconds in zip(weights, _STALE[index], strict=True))
        return (1 + STALE * rate * stale) / (SPANS[index] + 1 / rate)

    return SPANS[min(range(len(SPANS)), key=cost)]


class KeyHistory(NamedTuple):
    """The history of a key that was recomputed. `uses` in `span` seconds: its request rate, with older cycles decayed.
    `hits`: total so far.
    """

    kind: str
    model: str = ""
    observations: tuple[Observation, ...] = ()
    hits: int = 0
    uses: float = 0.0
    span: float = 0.0


class Lifetimes:
    """What was learned. `state`: from an earlier `state()`; an invalid one is ignored, and `restored` is False."""

    def __init__(self, state: bytes | None = None) -> None:
        self._known: dict[str, KeyHistory] = {}  # last observed at the end
        self._shares: dict[str, list[float]] = {}
        """Key -> its contribution to the weights of its kind."""
        self._counts = dict.fromkeys(START, 0)
        self._weights = {kind: _beforehand(kind) for kind in START}
        self._pace = dict.fromkeys(START, (10.0, 10 * DAY))
        """Kind -> (requests, seconds)."""
        self._models: dict[str, tuple[float, float]] = {}
        """Model -> (answers recomputed within an hour, those that had changed)."""
        self.restored = state is not None and self._restore(state)

    def predict(self, key: str, kind: str) -> Lifetime:
        """The lifetime of the answer of `key`. An unknown kind counts as text."""
        kind = kind if kind in START else TEXT
        known, count = self._known.get(key, KeyHistory(kind)), self._counts[kind]
        learned = count > 0 or key in self._shares
        seconds = START[kind]
        if learned:
            weights = self._posterior(key, kind, known.observations if key in self._shares else ())
            uses, span = self._pace[kind]
            seconds = best_span(weights, (known.uses + DAY * uses / span) / (known.span + DAY))
            if key in self._shares and any(one.changed for one in known.observations):
                seconds = min(seconds, START[kind])
        return Lifetime(seconds, kind, learned, self._probe(key, seconds, count), known.observations, count)

    def recomputed(self, key: str, kind: str, age: float, changed: bool, hits: int = 0, model: str = "") -> None:
        """Records that `model` recomputed the answer of `key` at an `age` in seconds. `hits`: total hits of the key."""
        kind = kind if kind in START else TEXT
        known = self._known.pop(key, KeyHistory(kind))
        one = Observation(max(0.0, round(age, 3)), changed)
        self._judge(model, kind, known, one)
        uses = max(0, hits - known.hits) + 1
        pace = self._pace[kind]
        self._pace[kind] = (pace[0] * PATIENCE + uses, pace[1] * PATIENCE + one.age)
        uses_span = known.uses / 2 + uses, known.span / 2 + one.age
        observations = (*known.observations, one)[-WITNESSES:]
        self._known[key] = KeyHistory(kind, model, observations, hits, *uses_span)
        self._withdraw(key, known.kind)
        if not self._fickle(model):
            self._counts[kind] += _tells(one)
            self._contribute(key)
        if len(self._known) > KEYS:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._shares.pop(oldest, None)  # its contribution to the kind stays

    def _judge(self, model: str, kind: str, known: KeyHistory, one: Observation) -> None:
        """Uses the first recomputation of a key within an hour to detect a model that rewords every answer."""
        if kind == TIME or one.age >= HOUR or any(before.age < HOUR for before in known.observations):
            return
        was = self._fickle(model)
        keys, changed = self._models.get(model, (0.0, 0.0))
        self._models[model] = (keys * PATIENCE + 1, changed * PATIENCE + one.changed)
        if self._fickle(model) and not was:
            for key, other in self._known.items():
                if other.model == model and key in self._shares:
                    self._withdraw(key, other.kind)
                    self._counts[other.kind] -= sum(map(_tells, other.observations))
            self._counts = {kind: max(0, count) for kind, count in self._counts.items()}

    def _fickle(self, model: str) -> bool:
        keys, changed = self._models.get(model, (0.0, 0.0))
        return keys >= FICKLE_KEYS * PATIENCE**FICKLE_KEYS and changed > FICKLE * keys

    def revision(self, kind: str) -> int:
        """Increases when predictions of this kind should be renewed."""
        return self._counts[kind if kind in START else TEXT].bit_length()

    def state(self) -> bytes:
        """The state as JSON."""
        return msgspec.json.encode(
            _State(self._known, self._shares, self._counts, self._weights, self._pace, self._models)
        )

    def _restore(self, state: bytes) -> bool:
        try:
            found = msgspec.json.decode(state, type=_State)
        except msgspec.DecodeError:
            return False
        fits = all(len(weights) == len(MEANS) + 1 for weights in (*found.weights.values(), *found.shares.values()))
        if not fits or any(set(part) != set(START) for part in (found.weights, found.counts, found.pace)):
            return False
        self._known, self._counts, self._weights = found.known, found.counts, found.weights
        self._shares, self._pace, self._models = found.shares, found.pace, found.models
        return True

    def _posterior(self, key: str, kind: str, observations: Sequence[Observation]) -> list[float]:
        """Posterior weights of the hypotheses, which sum to 1. The key's own contribution to its kind is not counted
        twice.
        """
        own = self._shares.get(key, [0.0] * (len(MEANS) + 1))
        before = [max(weight - share, 1e-9) for weight, share in zip(self._weights[kind], own, strict=True)]
        found = [weight * much for weight, much in zip(before, likelihood(observations), strict=True)]
        total = sum(found)
        return [weight / total for weight in found]

    def _contribute(self, key: str) -> None:
        kind = self._known[key].kind
        telling = [one for one in self._known[key].observations if _tells(one)]
        if not telling:
            return
        share = self._shares[key] = self._posterior(key, kind, telling)
        self._weights[kind] = [weight + part for weight, part in zip(self._weights[kind], share, strict=True)]

    def _withdraw(self, key: str, kind: str) -> None:
        share = self._shares.pop(key, None)
        if share is not None:
            self._weights[kind] = [weight - part for weight, part in zip(self._weights[kind], share, strict=True)]

    def _probe(self, key: str, seconds: float, count: int) -> float | None:
        """A time between an hour and the lifetime, log-uniform, deterministic per key."""
        draw = zlib.crc32(key.encode())
        if count >= PROBED or seconds <= HOUR or draw % PROBES:
            return None
        return float(HOUR * (seconds / HOUR) ** (draw // PROBES % 1000 / 1000))


def _tells(one: Observation) -> bool:
    """Whether the observation counts: the same result right after the previous one does not."""
    return one.changed or one.age >= MINUTE


class _State(msgspec.Struct):
    known: dict[str, KeyHistory]
    shares: dict[str, list[float]]
    counts: dict[str, int]
    weights: dict[str, list[float]]
    pace: dict[str, tuple[float, float]]
    models: dict[str, tuple[float, float]]
