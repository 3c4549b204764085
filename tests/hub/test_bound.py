"""The decision with an error bound, on traffic with known truth. The full counts are in tests/bench/cache/decision.py."""

import json
from functools import partial

import pytest
from llmctld.semantic.decision import prior
from llmctld.semantic.decision.bound import ASKED_FIRST, Bound, Decision
from llmctld.semantic.decision.pair import Neighbour, Pair, describe

from tests.hub.pairs import WRONG, play, stream
from tests.work import calls

FAR = Pair(0.7, 0.1, 1, 0.7, 500, False, 0, 0)
CLOSE = Pair(0.97, 0.4, 1, 0.97, 500, False, 0, 0)
RESTATED = Pair(0.985, 0.3, 1, 0.985, 1, True, 0, 0)


@pytest.mark.parametrize("kind", WRONG)
def test_error_rate_stays_under_the_limit_for_all_traffic(kind: str) -> None:
    runs = [play(Bound(0.02, seed=seed), stream(kind, 3000, seed, near=0.5)) for seed in range(3)]
    assert sum(run.error for run in runs) / len(runs) <= 0.02
    assert max(run.error for run in runs) <= 0.02 * 1.5


@pytest.mark.parametrize("kind", ["natural", "one in fifty, however near"])
def test_safest_pairs_are_almost_never_refused_for_a_spent_error_budget(kind: str) -> None:
    """A pair at most a quarter as risky as the threshold is served or explored, except one in five hundred."""

    class Watched(Bound):
        sure = away = 0

        def decide(self, pair: Pair | None) -> Decision:
            decision = super().decide(pair)
            if self._count["requests"] > 800 and decision.error <= self._threshold / 4 and not decision.explore:
                self.sure += 1
                self.away += not decision.serve
            return decision

    bounds = [Watched(0.02, seed=seed) for seed in range(3)]
    for seed, bound in enumerate(bounds):
        play(bound, stream(kind, 4000, seed, near=0.6))
    assert sum(bound.sure for bound in bounds) > 1000
    assert sum(bound.away for bound in bounds) <= sum(bound.sure for bound in bounds) / 500


def test_noisy_judge_reduces_hits_but_keeps_the_bound() -> None:
    sure = play(Bound(0.02, seed=1), stream("natural", 4000, 1, near=0.5))
    noisy = play(Bound(0.02, seed=1), stream("natural", 4000, 1, near=0.5), verdicts=0.9)
    assert noisy.error <= 0.02
    assert noisy.net < sure.net


def test_error_free_traffic_is_served_with_few_checks() -> None:
    run = play(Bound(0.005, seed=2), stream("all right", 4000, 2, near=0.8))
    assert run.net > 0.7
    assert run.audit.explored + run.audit.verified < 0.1 * run.requests


@pytest.mark.parametrize("limit", [0.001, 0.005, 0.02])
def test_a_fresh_install_serves_a_restatement_at_once(limit: float) -> None:
    decision = Bound(limit, seed=3).decide(RESTATED)
    assert decision.serve
    assert decision.error <= limit


def test_fresh_install_explores_close_pairs_before_serving_them() -> None:
    bound = Bound(0.02, seed=4)
    for _ in range(200):
        bound.decide(FAR)
    assert bound.decide(CLOSE).explore


def test_distant_pair_is_neither_served_nor_judged() -> None:
    decision = Bound(0.005, seed=5).decide(FAR)
    assert decision == Decision(serve=False, error=decision.error)
    assert decision.error > 0.2


def test_number_of_judge_questions_is_limited() -> None:
    """A plausible pair uses up a question only when the judge is really asked."""
    bound = Bound(0.005, seed=5)
    plausible = Pair(0.9, 0.2, 1, 0.9, 500, False, 0, 0)
    for _ in range(3 * ASKED_FIRST):
        assert bound.decide(plausible).judge
    for _ in range(2 * ASKED_FIRST):
        bound.count_judge_question()
    assert not any(decision.judge for decision in (bound.decide(plausible) for _ in range(20)) if not decision.explore)


def test_request_without_a_candidate_is_counted() -> None:
    bound = Bound(0.005, seed=6)
    assert bound.decide(None) == Decision(serve=False, error=1.0)
    assert bound.audit().requests == 1


def test_reported_wrong_answer_raises_the_estimated_error_of_similar_pairs() -> None:
    bound = Bound(0.02, seed=7)
    before = bound.decide(RESTATED)
    bound.wrong(RESTATED, before)
    assert bound.decide(RESTATED).error > 2 * before.error


def test_learned_state_survives_a_restart() -> None:
    bound = Bound(0.02, seed=8)
    play(bound, stream("natural", 2000, 8, near=0.5))
    again = Bound(0.02, state=bound.state(), seed=9)
    assert again.restored
    assert again.audit() == bound.audit()
    assert again.decide(CLOSE).error == bound.decide(CLOSE).error
    assert len(bound.state()) < 20_000


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b"{}", b"\xff", json.dumps({"features": ["other"]}).encode()])
def test_unreadable_state_is_reported_and_the_bound_starts_fresh(state: bytes) -> None:
    bound = Bound(0.005, state=state)
    assert not bound.restored
    assert bound.audit().pairs == 0
    assert bound.decide(RESTATED).serve


def test_same_seed_gives_the_same_decisions() -> None:
    runs = [play(Bound(0.02, seed=10), stream("natural", 1000, 10, near=0.5)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_cost_of_a_decision_does_not_grow_with_the_learned_data() -> None:
    bound = Bound(0.02, seed=11)
    pairs = [pair for pair, _ in stream("natural", 2000, 11, near=0.5) if pair is not None]
    spent = [calls(partial(_learn, bound, pair)) for pair in pairs]
    assert max(spent) < 500
    assert sum(spent[-200:]) < 1.1 * sum(spent[:200])


def _learn(bound: Bound, pair: Pair) -> None:
    bound.learn(pair, bound.decide(pair), True)


def test_gap_is_measured_to_the_nearest_neighbour_with_another_answer() -> None:
    near = [Neighbour(0.95, "a", "What is love?"), Neighbour(0.94, "a", "Love?"), Neighbour(0.80, "b", "What is war?")]
    pair = describe("what's love", near, 10)
    assert pair is not None
    assert pair.gap == pytest.approx(0.15)
    assert pair.agreeing == 2
    assert pair.restated


def test_gap_without_a_rival_is_measured_to_the_farthest_neighbour() -> None:
    pair = describe("x", [Neighbour(0.95, "a", "y"), Neighbour(0.85, "a", "z")], 2)
    assert pair is not None
    assert pair.gap == pytest.approx(0.1)
    alone = describe("x", [Neighbour(0.95, "a", "y")], 1)
    assert alone is not None
    assert alone.gap == pytest.approx(0.95)
    assert describe("x", [], 3) is None


def test_shipped_prior_has_the_dimensions_of_the_features() -> None:
    shipped = prior.shipped()
    assert len(shipped.mean) == len(shipped.covariance) == len(prior.FEATURES) == len(prior.features(CLOSE))
    assert all(len(row) == len(shipped.mean) for row in shipped.covariance)
