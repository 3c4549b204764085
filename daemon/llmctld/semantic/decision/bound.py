"""Whether a stored answer is served for a new question, so that wrong answers stay under `max_error` of all requests.

It works on pairs as numbers, on outcomes and on the limit; not on texts, vectors or files. It has three parts:

    classifier   predicts how likely the stored answer is wrong; it starts from the shipped prior and learns from all pairs
    calibration  observed errors over predicted ones, among pairs about as risky as those served: a factor with an upper bound
    account      each request adds `max_error`; each served answer takes its predicted error times that factor

A pair is served when its predicted error is under a threshold, and the account can pay for it. The threshold is chosen so that
what is served costs about what requests add (`histogram`). An empty account would refuse good pairs after it has paid for worse
ones, so the threshold is lowered before that. A pair that costs clearly less than one request adds (SURE_SHARE) is served
whatever the account holds; so restatements are served on a fresh install.

Pairs that are good enough must also be checked, the riskier the more often. Either the answer is computed instead of served
("explore": nobody gets a wrong one), or, where the pair is nearly certain, it is served and computed afterwards ("verify"). A
pair that is checked with probability v counts 1/v times (inverse probability weighting: Horvitz and Thompson 1952).

Sources: vCache (arXiv 2502.03771) explores with a probability and bounds the error of what is served; conformal risk control
(arXiv 2208.02814) chooses the threshold by an upper bound on the risk. Here the evidence of all stored questions is pooled. The
constants were chosen on the even half of the question stream, by `make bench-cache ROWS=decision` (docs/decisions.md, 56).
"""

import json
import math
import random
from typing import NamedTuple

from llmctld.semantic.decision import prior as priors
from llmctld.semantic.decision.calibration import Calibration, gamma_upper
from llmctld.semantic.decision.classifier import Classifier
from llmctld.semantic.decision.histogram import ErrorHistogram
from llmctld.semantic.decision.pair import Pair
from llmctld.semantic.decision.prior import Prior, features

# ---- the account ----

MARGIN = 0.8
"""Safety margin, in standard deviations: the expected number of errors stays so far under the limit. The number of errors is a
Poisson variable, whose variance is its mean (`allowed`)."""
SURE_SHARE = 0.6
"""A pair is served whatever the account holds if it costs at most this share of what one request adds."""
CARRIED = 5000
"""Requests whose unspent errors the account keeps, at most."""
SPREAD, RECOVER = 3000, 300
"""Requests over which the threshold spends what the account holds, and over which it saves what the account lacks."""
LEAST_SPENT = 0.1
"""Share of what requests add that the threshold spends even while the account lacks something."""
OVERDRAFT = 0.5
"""Limit of the account's overdraft, in standard deviations of the number of errors: nearly certain pairs are still served while a
threshold that was too high comes down."""

# ---- the calibration: predicted errors that count as seen before there is evidence, and upper bounds in deviations ----

THRESHOLD_PRIOR = 30.0
"""Weight of the prior for the factor of threshold and costs, in expected errors."""
ACCOUNT_PRIOR = 30.0
"""Weight of the prior for the errors that were probably served already."""
AUDIT_PRIOR = 10.0
"""Weight of the prior for `audit`: less, since its figure should hold for traffic unlike all before."""
FACTOR_DEVIATIONS = 0.3
"""The upper bound of the factor, in standard deviations."""
SERVED_DEVIATIONS = 0.2
"""The upper bound of the errors that were probably served already, in standard deviations."""
CONFIDENT = 1.645
"""Standard deviations of a one-sided bound of 95 %."""
RELEVANT = 4.0
"""The factor is learned from pairs up to this multiple of the threshold: riskier ones say nothing about served ones."""
FADE = 1 / 1500
"""Share of its evidence that the factor loses with each pair of weight 1."""
HEAVIEST = 2.0
"""Largest weight of a pair for classifier and factor: truncated weights vary less (Ionides 2008). The audit takes full ones."""

# ---- how often served pairs are checked ----

CHECK_AT_THRESHOLD = 0.12
"""Probability of checking a pair at the threshold, once there is evidence."""
CHECK_CERTAIN = 0.01
"""Probability of checking the most certain pairs."""
CHECKS_FIRST = 10.0
"""Checks after which half of all pairs are checked for lack of evidence; the share falls with each."""

# ---- what is learned, and what is put to the judge ----

LEAST_SIMILAR = 0.6
"""Cosine under which a pair is neither served nor learned."""
LEARNED_UP_TO = 0.5
"""The classifier learns from pairs up to this predicted error: the far ones would bend it where the decision is made."""
CLOSE_UP_TO = 0.3
"""A pair up to this predicted error says something about its stored question too."""
ASKED_FIRST, ASKED_SHARE = 50, 0.01
"""Limit of questions to the judge about misses: a fixed number, and a share of the requests. Equal answers need no judge."""
PLAUSIBLE = 0.35
"""A miss with a higher predicted error is not put to the judge."""
FAR_SHARE = 0.1
"""Share of the plausible misses beyond `RELEVANT` times the threshold that are put to the judge."""


class Decision(NamedTuple):
    """What is done with a pair. The order of the fields is stored (`entries.packed`)."""

    serve: bool
    error: float
    """The predicted probability that the stored answer is wrong here."""
    verify: bool = False
    """Served, and computed too, to learn."""
    explore: bool = False
    """Good enough to be served, but computed instead, to learn."""
    judge: bool = False
    """Whether the pair is worth a question to the judge, if the answers alone do not tell. Where a judge is used, nothing is
    learned from other pairs: without it only equal answers are recognised, and the decision would learn from those alone."""
    weight: float = 1.0
    """How many pairs its outcome counts for."""

    @property
    def close(self) -> bool:
        """Whether the outcome says something about the stored question: a far one that has another answer does not."""
        return self.error < CLOSE_UP_TO


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
    """Upper bound of 95 %, one-sided."""
    max_error: float
    serving: bool
    """Whether more is served than what is nearly certain."""


class Bound:
    """Decides, and learns from outcomes. Not safe in several threads; a call takes some 50 microseconds."""

    def __init__(
        self, max_error: float, prior: Prior | None = None, state: bytes | None = None, seed: int | None = None
    ) -> None:
        """`state` comes from `state()`. If it cannot be read, `restored` is False, and nothing is learned yet."""
        self.max_error = max_error
        self._prior = prior or priors.shipped()
        self._chance = random.Random(seed)
        self.restored = state is not None and self._restore(state)
        if not self.restored:
            self._start()

    def decide(self, pair: Pair | None) -> Decision:
        """Called once for each request that allows semantic answers; one without a pair counts as a request."""
        self._count["requests"] += 1
        self._income += self.max_error
        known = pair is not None and pair.similarity >= LEAST_SIMILAR
        error = self._classifier.predict(features(pair)) if pair is not None and known else 1.0
        if self._histogram.add(error if known else None):
            self._choose()
        if pair is None or not known:
            return Decision(serve=False, error=error)
        cost = error * self._factor
        sure = cost <= SURE_SHARE * self.max_error
        if not sure and (error > self._threshold or cost > self._left() + self._overdraft()):
            return Decision(serve=False, error=error, judge=self._worth_a_judge(error))
        probability = self._check_probability(error)
        checked = self._chance.random() < probability
        if checked and not pair.restated and (not sure or self._count["looked"] < CHECKS_FIRST):
            self._count["looked"] += 1
            self._count["explored"] += 1
            return Decision(serve=False, error=error, explore=True, judge=True, weight=1 / probability)
        self._count["looked"] += checked
        self._count["hits"] += 1
        self._served += error
        return Decision(serve=True, error=error, verify=checked, judge=checked, weight=1 / probability)

    def learn(self, pair: Pair, decision: Decision, same: bool) -> None:
        """Takes the outcome of a miss, an exploration or a verification: whether the stored answer was right."""
        if pair.similarity < LEAST_SIMILAR:
            return
        weight = min(decision.weight, HEAVIEST)
        self._count["pairs"] += 1
        if decision.serve:
            self._count["verified"] += 1
            self._count["failed"] += not same
            self._audit.observe(decision.error, not same, decision.weight)
        elif decision.explore and decision.weight > 1:
            self._audit.observe(
                decision.error, not same, decision.weight - 1
            )  # the served ones that this one stands for
        if decision.error <= self._horizon():
            self._calibration.observe(decision.error, not same, weight, FADE * weight)
            self._factor = self._calibration.upper(FACTOR_DEVIATIONS)
        if decision.error <= LEARNED_UP_TO:
            self._classifier.learn(features(pair), not same, weight)

    def count_judge_question(self) -> None:
        """Counts a question to the judge."""
        self._count["asked"] += 1

    def wrong(self, pair: Pair, decision: Decision) -> None:
        """Takes a user's word that a served answer was wrong. Silence is no evidence that one was right."""
        self._count["failed"] += 1
        self._audit.observe(0.0, True, 1.0)
        self._calibration.observe(0.0, True, 1.0)
        self._factor = self._calibration.upper(FACTOR_DEVIATIONS)
        self._classifier.learn(features(pair), True)

    def audit(self) -> Audit:
        """Measured rates, each outcome with its weight. The upper bound also uses the predictions, since few rare errors are
        seen, and is never under the measured rate."""
        requests = max(1, self._count["requests"])
        measured = min(self._audit.wrong, self._count["hits"])
        seen = Calibration(AUDIT_PRIOR, self._audit.wrong, self._audit.expected, self._audit.squares)
        upper = max(0.5, self._served * seen.upper(CONFIDENT))  # half an error at least: a gamma variable needs a shape
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
        """What was learned, for the next hub."""
        table = {
            "features": priors.FEATURES,
            "mean": self._classifier.mean,
            "covariance": self._classifier.covariance,
            "odds": vars(self._calibration),
            "audit": vars(self._audit),
            "traffic": [self._histogram.counts, self._histogram.requests],
            "count": self._count,
            "income": self._income,
            "served": self._served,
        }
        return json.dumps(table).encode()

    def _start(self) -> None:
        self._classifier = Classifier(self._prior.mean, self._prior.covariance)
        self._calibration = Calibration(THRESHOLD_PRIOR)
        self._audit = Calibration(ACCOUNT_PRIOR)
        self._histogram = ErrorHistogram()
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
            self._classifier.mean = [float(number) for number in table["mean"]]
            self._classifier.covariance = [[float(number) for number in row] for row in table["covariance"]]
            self._calibration = Calibration(**table["odds"])
            self._audit = Calibration(**table["audit"])
            self._histogram = ErrorHistogram(*table["traffic"])
            self._count |= {name: int(table["count"][name]) for name in self._count}
            self._income = float(table["income"])
            self._served = float(table["served"])
            self._factor = self._calibration.upper(FACTOR_DEVIATIONS)
            self._choose()
        except (ValueError, KeyError, TypeError):
            return False
        return True

    def _choose(self) -> None:
        """Sets the threshold: it spends what requests add, and over the next requests what the account holds or lacks."""
        requests = self._histogram.requests
        added = allowed(self._income + self.max_error) - allowed(self._income)
        left = self._left()
        spend = requests * max(LEAST_SPENT * added, added + left / (SPREAD if left > 0 else RECOVER))
        self._threshold = self._histogram.threshold(spend, max(self._factor, self._audit.upper(SERVED_DEVIATIONS)))

    def _left(self) -> float:
        """Errors in the account: those allowed so far, less those probably served."""
        return min(
            allowed(self._income) - self._served * self._audit.upper(SERVED_DEVIATIONS), CARRIED * self.max_error
        )

    def _overdraft(self) -> float:
        return OVERDRAFT * math.sqrt(allowed(self._income))

    def _check_probability(self, error: float) -> float:
        """The probability of checking a pair: 1 at first, then proportional to the square root of its risk, by which the variance
        of a weighted sum of rare errors is least (Neyman 1934)."""
        thin = CHECKS_FIRST / (CHECKS_FIRST + self._count["looked"])
        risk = error / max(self._threshold, self.max_error)
        return thin + (1 - thin) * min(1.0, max(CHECK_CERTAIN, CHECK_AT_THRESHOLD * math.sqrt(risk)))

    def _worth_a_judge(self, error: float) -> bool:
        """Whether a miss is worth a question to the judge: preferably near the threshold, and not too many in all."""
        if error > PLAUSIBLE or self._count["asked"] >= ASKED_FIRST + ASKED_SHARE * self._count["requests"]:
            return False
        first = self._count["asked"] < ASKED_FIRST
        return first or error <= self._horizon() or self._chance.random() < FAR_SHARE

    def _horizon(self) -> float:
        """The highest predicted error of pairs that say something about served ones."""
        return RELEVANT * max(self._threshold, self.max_error)


def allowed(limit: float) -> float:
    """The number of errors m with m + MARGIN * sqrt(m) = limit: it stays MARGIN standard deviations under `limit`."""
    return ((math.sqrt(MARGIN * MARGIN + 4 * limit) - MARGIN) / 2) ** 2
