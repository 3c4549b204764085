"""Whether a stored answer may be served for a new question, so that wrong answers stay under a share of all requests.

Knows pairs as numbers, outcomes and the limit; no text, no vector, no disk. Three parts, each simple alone:

    belief   a logistic regression over all pairs says how likely an answer is wrong; it starts from the shipped prior
    odds     among pairs about as risky as those served, seen errors against predicted ones: a factor with an upper bound
    account  each request brings `max_error`; each served answer costs its predicted error times that factor

A pair is served when its risk is under the threshold that would spend what comes in (`traffic`) and the account can pay it.
The account should never be empty: then pairs would be refused that are better than those served an hour ago.
Who costs less than a request brings is served at once: so restatements are, on a fresh install. What is served must be looked
at too, the riskier the more often: before serving ("explore": it is computed, nobody gets a wrong answer), or after
("verify"), where it is nearly certain and waiting would be a pity. A pair that is looked at with probability v counts 1/v times.

The ideas are those of vCache (arXiv 2502.03771: explore with a probability, bound the error of what is served) and conformal
risk control (arXiv 2208.02814: choose the threshold by an upper bound on the risk), with the evidence of all entries pooled.
"""

import json
import math
import random
from typing import NamedTuple

from llmctld.semantic.decision import prior as priors
from llmctld.semantic.decision.belief import Belief
from llmctld.semantic.decision.odds import Odds, gamma_upper
from llmctld.semantic.decision.pair import Pair
from llmctld.semantic.decision.prior import Prior, features
from llmctld.semantic.decision.traffic import Traffic

MARGIN = 0.8
"""Standard deviations that the number of errors, which is a sum of rare ones, stays under the limit."""
SURE = 0.6
"""What costs no more than this share of what a request brings is served at once."""
CARRY = 5000
"""Requests whose errors may be saved for later."""
CAUTION = 0.3
"""Standard deviations of the factor's upper bound."""
BELIEVED = 30.0
"""Expected errors that must have been seen until they weigh as much as the classifier's word, for the threshold."""
AUDITED = 30.0
"""The same for the account."""
TOLD = 10.0
"""The same for what the audit tells: it is to be true of traffic that is unlike all before, too."""
DOUBT = 0.2
"""The same of the errors that were probably made already."""
LOOKS = 0.12
"""How often the riskiest pairs that are served are looked at, once there is evidence."""
THIN = 10.0
"""Pairs looked at until there is."""
SELDOM = 0.01
"""How often the surest are."""
NEAR = 4.0
"""The factor is learned from pairs up to so many times as risky as the threshold: computed anyway, or looked at."""
FADES = 1 / 1500
HEAVIEST = 2.0
"""A pair counts for so many at most: who is looked at seldom may not turn all around at once."""
SPREAD, RECOVERS = 3000, 300
"""Requests over which what is left in the account is spent, and over which what is lacking is saved."""
OVERDRAFT = 0.5
"""Standard deviations of the number of errors by which the account may be overdrawn: a threshold that was a little too high is
lowered, and until then what is nearly sure is still served."""
LEAST_SIMILAR = 0.6
ASKED_FIRST, ASKED = 50, 0.01
"""Questions that may be put to the judge: so many, and a share of the requests. Answers that are equal need no judge."""
PLAUSIBLE = 0.35
FARTHER = 0.1
"""The share of those misses that are plausible but farther from the threshold than `NEAR` times."""
LOCAL = 0.5
"""The classifier learns from pairs that were not likelier wrong: those far away would only bend it where it matters."""
CLOSE = 0.3
CONFIDENT = 1.645
"""Standard deviations of a one-sided bound of 95 %."""


class Decision(NamedTuple):
    serve: bool
    error: float
    """The probability, as predicted, that the stored answer is wrong here."""
    verify: bool = False
    """Served, and to be computed too, to learn."""
    explore: bool = False
    """Would have been served; is computed instead, to learn."""
    judge: bool = False
    """Whether it is worth a question to the judge, if the answers alone do not tell. Where a judge is asked, a pair that is not
    teaches nothing: equal answers alone would be learned, and never different ones."""
    weight: float = 1.0
    """As how many pairs its outcome counts."""

    @property
    def close(self) -> bool:
        """Whether the outcome says something about the entry: that a question far away has another answer does not."""
        return self.error < CLOSE


class Audit(NamedTuple):
    """Rates are shares of all requests."""

    requests: int
    hits: int
    explored: int
    verified: int
    pairs: int
    """Outcomes that were learned."""
    wrong_rate: float
    wrong_rate_upper: float
    """Of the 95 % interval, one-sided."""
    max_error: float
    serving: bool
    """Whether anything but what costs nearly nothing is served."""


class Bound:
    """Not for several threads at once; each method takes some 50 microseconds."""

    def __init__(
        self, max_error: float, prior: Prior | None = None, state: bytes | None = None, seed: int | None = None
    ) -> None:
        """`state` is what `state()` gave; one that cannot be read leaves `restored` False and nothing learned."""
        self.max_error = max_error
        self._prior = prior or priors.shipped()
        self._chance = random.Random(seed)
        self.restored = state is not None and self._restore(state)
        if not self.restored:
            self._start()

    def decide(self, pair: Pair | None) -> Decision:
        """Once for each request that asks for such answers; without a pair it counts as a request."""
        self._count["requests"] += 1
        self._income += self.max_error
        known = pair is not None and pair.similarity >= LEAST_SIMILAR
        error = self._belief.predict(features(pair)) if pair is not None and known else 1.0
        if self._traffic.request(error if known else None):
            self._choose()
        if pair is None or not known:
            return Decision(serve=False, error=error)
        cost = error * self._factor
        sure = cost <= SURE * self.max_error
        if not sure and (error > self._threshold or cost > self._left() + self._overdraft()):
            return Decision(serve=False, error=error, judge=self._asks(error))
        looks = self._looks(error)
        looked = self._chance.random() < looks
        if looked and not pair.restated and (not sure or self._count["looked"] < THIN):
            self._count["looked"] += 1
            self._count["explored"] += 1
            return Decision(serve=False, error=error, explore=True, judge=True, weight=1 / looks)
        self._count["looked"] += looked
        self._count["hits"] += 1
        self._served += error
        return Decision(serve=True, error=error, verify=looked, judge=looked, weight=1 / looks)

    def learn(self, pair: Pair, decision: Decision, same: bool) -> None:
        """What came out: whether the stored answer would have served, after a miss, an exploration or a verification."""
        if pair.similarity < LEAST_SIMILAR:
            return
        weight = min(decision.weight, HEAVIEST)
        self._count["pairs"] += 1
        if decision.serve:
            self._count["verified"] += 1
            self._count["failed"] += not same
            self._audit.see(decision.error, not same, decision.weight)
        elif decision.explore and decision.weight > 1:
            self._audit.see(decision.error, not same, decision.weight - 1)  # those served for each one explored
        if decision.error <= self._horizon():
            self._odds.see(decision.error, not same, weight, FADES * weight)
            self._factor = self._odds.upper(CAUTION)
        if decision.error <= LOCAL:
            self._belief.learn(features(pair), not same, weight)

    def ask(self) -> None:
        """A question is put to the judge."""
        self._count["asked"] += 1

    def wrong(self, pair: Pair, decision: Decision) -> None:
        """A user says that a served answer was wrong. Who says nothing was not asked: it counts against, never for."""
        self._count["failed"] += 1
        self._audit.see(0.0, True, 1.0)
        self._odds.see(0.0, True, 1.0)
        self._factor = self._odds.upper(CAUTION)
        self._belief.learn(features(pair), True)

    def audit(self) -> Audit:
        """What was measured, each outcome with its weight; the upper bound leans on the predictions too, since of rare errors few
        are seen, and is never under what was measured."""
        requests = max(1, self._count["requests"])
        measured = min(self._audit.wrong, self._count["hits"])
        seen = Odds(TOLD, self._audit.wrong, self._audit.expected, self._audit.squares)
        upper = max(0.5, self._served * seen.upper(CONFIDENT))
        failed = self._count["failed"]
        known = failed * gamma_upper(failed, CONFIDENT) if failed else 0.0
        return Audit(
            requests=self._count["requests"],
            hits=self._count["hits"],
            explored=self._count["explored"],
            verified=self._count["verified"],
            pairs=self._count["pairs"],
            wrong_rate=measured / requests,
            wrong_rate_upper=min(1.0, max(upper * gamma_upper(upper, CONFIDENT), known, measured) / requests),
            max_error=self.max_error,
            serving=self._threshold > self.max_error,
        )

    def state(self) -> bytes:
        table = {
            "features": priors.FEATURES,
            "mean": self._belief.mean,
            "covariance": self._belief.covariance,
            "odds": vars(self._odds),
            "audit": vars(self._audit),
            "traffic": [self._traffic.counts, self._traffic.requests],
            "count": self._count,
            "income": self._income,
            "served": self._served,
        }
        return json.dumps(table).encode()

    def _start(self) -> None:
        self._belief = Belief(self._prior.mean, self._prior.covariance)
        self._odds = Odds(BELIEVED)
        self._audit = Odds(AUDITED)
        self._traffic = Traffic()
        self._count = dict.fromkeys(
            ("requests", "hits", "explored", "verified", "pairs", "looked", "asked", "failed"), 0
        )
        self._income = 0.0
        self._served = 0.0
        self._factor = 1.0
        self._threshold = 0.0

    def _restore(self, state: bytes) -> bool:
        self._start()
        try:
            table = json.loads(state)
            if tuple(table["features"]) != priors.FEATURES:
                return False
            self._belief.mean = [float(number) for number in table["mean"]]
            self._belief.covariance = [[float(number) for number in row] for row in table["covariance"]]
            self._odds = Odds(**table["odds"])
            self._audit = Odds(**table["audit"])
            self._traffic = Traffic(*table["traffic"])
            self._count |= {name: int(table["count"][name]) for name in self._count}
            self._income = float(table["income"])
            self._served = float(table["served"])
            self._factor = self._odds.upper(CAUTION)
            self._choose()
        except (ValueError, KeyError, TypeError):
            return False
        return True

    def _choose(self) -> None:
        """The threshold that spends what comes in, and over the next requests what is left (or lacks)."""
        requests = self._traffic.requests
        comes = allowed(self._income + self.max_error) - allowed(self._income)
        left = self._left()
        spend = requests * max(0.1 * comes, comes + left / (SPREAD if left > 0 else RECOVERS))
        self._threshold = self._traffic.highest(spend, max(self._factor, self._audit.upper(DOUBT)))

    def _left(self) -> float:
        """Errors that may still be made: those that are allowed by now, less those that were probably made."""
        return min(allowed(self._income) - self._served * self._audit.upper(DOUBT), CARRY * self.max_error)

    def _overdraft(self) -> float:
        return OVERDRAFT * math.sqrt(allowed(self._income))

    def _looks(self, error: float) -> float:
        """The probability of looking: all at first, then the riskier the more often."""
        thin = THIN / (THIN + self._count["looked"])
        risk = error / max(self._threshold, self.max_error)
        return thin + (1 - thin) * min(1.0, max(SELDOM, LOOKS * math.sqrt(risk)))

    def _asks(self, error: float) -> bool:
        """Whether a miss is worth a question: the nearer to the threshold the rather, and no more than so many."""
        if error > PLAUSIBLE or self._count["asked"] >= ASKED_FIRST + ASKED * self._count["requests"]:
            return False
        first = self._count["asked"] < ASKED_FIRST
        return first or error <= self._horizon() or self._chance.random() < FARTHER

    def _horizon(self) -> float:
        return NEAR * max(self._threshold, self.max_error)


def allowed(limit: float) -> float:
    """The expected number of errors that stays `MARGIN` of its standard deviations (those of a Poisson) under `limit`."""
    return ((math.sqrt(MARGIN * MARGIN + 4 * limit) - MARGIN) / 2) ** 2
