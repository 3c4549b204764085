"""Predicted lifetimes: how they follow from observations, and that the learned state can be saved."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctld.cache.lifetimes.lifetime import (
    BELIEF,
    DAY,
    FICKLE_KEYS,
    HOUR,
    MEANS,
    MINUTE,
    PROBED,
    SPANS,
    STALE,
    START,
    Lifetimes,
    best_span,
    likelihood,
)
from llmctld.cache.lifetimes.lifetime import _beforehand as beforehand
from llmctld.cache.lifetimes.lifetime import _stale as stale
from llmctld.cache.lifetimes.question_kinds import ARITHMETIC, CODE, TEXT, TIME, kind_of

ages = st.sampled_from([5.0, 10 * MINUTE, HOUR, 5 * HOUR, DAY, 20 * DAY])
observed = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([*START]), ages, st.booleans()), max_size=25)


def seconds(learned: Lifetimes, key: str = "k", kind: str = TEXT) -> float:
    return learned.predict(key, kind).seconds


# ---- predictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", START)
def test_initial_lifetime_of_each_kind(kind: str) -> None:
    found = Lifetimes().predict("k", kind)
    assert (found.seconds, found.learned, list(found.observations)) == (START[kind], False, [])


@pytest.mark.parametrize("kind", START)
def test_initial_lifetime_follows_from_the_prior_of_its_kind(kind: str) -> None:
    weights = [weight / BELIEF for weight in beforehand(kind)]
    assert sum(weights) == pytest.approx(1)
    assert 0.6 <= best_span(weights, 1 / DAY) / START[kind] <= 1.6


def test_changed_answer_shortens_and_unchanged_answer_extends_the_lifetime() -> None:
    changed, same = Lifetimes(), Lifetimes()
    changed.recomputed("k", TEXT, 2 * HOUR, True)
    for _ in range(4):
        same.recomputed("k", TEXT, 30 * DAY, False)
    assert seconds(changed) <= 2 * HOUR
    assert seconds(same) > START[TEXT]


def test_new_key_uses_the_observations_of_its_kind() -> None:
    learned = Lifetimes()
    for number in range(20):
        learned.recomputed(f"k{number}", TEXT, DAY, True)
    assert seconds(learned, "new") < DAY
    assert seconds(learned, "new", CODE) == START[CODE]


def test_frequently_requested_key_has_a_shorter_lifetime() -> None:
    rare, often = Lifetimes(), Lifetimes()
    for turn in range(1, 5):
        rare.recomputed("k", TEXT, DAY, turn == 1, hits=turn)
        often.recomputed("k", TEXT, DAY, turn == 1, hits=500 * turn)
    assert seconds(often) < seconds(rare)


def test_same_answer_moments_later_is_not_learned_from() -> None:
    learned = Lifetimes()
    learned.recomputed("k", TEXT, 5.0, False)
    found = learned.predict("k", TEXT)
    assert (found.seconds, found.learned) == (START[TEXT], False)
    assert len(found.observations) == 1, "the observation is still listed"


def test_model_that_rewords_every_answer_is_not_learned_from() -> None:
    learned = Lifetimes()
    for number in range(2 * FICKLE_KEYS):
        learned.recomputed(f"k{number}", TEXT, 10 * MINUTE, True, model="poet")
        if number == 3:
            assert seconds(learned, "new") < HOUR, "the first observations are still believed"
    assert seconds(learned, "new") == seconds(learned, "k1") == START[TEXT]
    learned.recomputed("other", TEXT, 2 * HOUR, True, model="clerk")
    assert seconds(learned, "other") <= 2 * HOUR


def test_only_the_last_observations_of_a_key_count() -> None:
    learned = Lifetimes()
    for _ in range(10):
        learned.recomputed("k", TEXT, DAY, True)
    before = seconds(learned)
    for _ in range(10):
        learned.recomputed("k", TEXT, DAY, False)
    assert seconds(learned) > 10 * before
    assert len(learned.predict("k", TEXT).observations) == 8


def test_some_keys_are_probed_early_until_enough_is_known() -> None:
    learned = Lifetimes()
    probes = [learned.predict(f"k{number}", TEXT).probe for number in range(800)]
    drawn = [probe for probe in probes if probe is not None]
    assert 160 <= len(drawn) <= 240
    assert all(HOUR <= probe <= START[TEXT] for probe in drawn)
    assert sum(probe < DAY for probe in drawn) > 20, "evenly spread on a logarithmic scale"
    for number in range(PROBED):
        learned.recomputed(f"k{number}", TEXT, DAY, False)
    assert all(learned.predict(f"k{number}", TEXT).probe is None for number in range(800))


# ---- the formulas ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [HOUR, DAY])
@pytest.mark.parametrize("span", [HOUR / 10, 3 * HOUR, 5 * DAY])
def test_expected_stale_time_matches_numerical_integration(mean: float, span: float) -> None:
    steps = 20_000
    added = sum(1 - math.exp(-(step + 0.5) * span / steps / mean) for step in range(steps)) * span / steps
    assert stale(mean, span) == pytest.approx(added, rel=1e-4)


@given(st.lists(st.floats(0.001, 1), min_size=len(MEANS) + 1, max_size=len(MEANS) + 1), st.floats(1e-7, 1e-2))
def test_chosen_lifetime_has_the_lowest_cost(weights: list[float], rate: float) -> None:
    def cost(span: float) -> float:
        expected = sum(weight * stale(mean, span) for weight, mean in zip(weights, MEANS, strict=False))
        return (1 + STALE * rate * expected) / (span + 1 / rate)

    assert cost(best_span(weights, rate)) == pytest.approx(min(cost(span) for span in SPANS))


@given(observed)
def test_each_key_has_the_same_weight_however_often_observed(found: list[tuple[str, str, float, bool]]) -> None:
    learned = Lifetimes()
    for key, kind, age, changed in found:
        learned.recomputed(key, kind, age, changed)
    for kind in START:
        keys = [key for key, known in learned._known.items() if known.kind == kind and key in learned._shares]
        assert sum(learned._weights[kind]) == pytest.approx(BELIEF + len(keys))


def test_likelihood_without_observations_is_one() -> None:
    found = likelihood([*Lifetimes().predict("k", TEXT).observations])
    assert found == [1.0] * (len(MEANS) + 1)


# ---- saving ----------------------------------------------------------------------------------------------------------


@given(observed)
def test_state_can_be_saved_and_restored(found: list[tuple[str, str, float, bool]]) -> None:
    learned = Lifetimes()
    for key, kind, age, changed in found:
        learned.recomputed(key, kind, age, changed, model="m")
    again = Lifetimes(learned.state())
    assert again.restored
    for key in "abcdefg":
        for kind in START:
            assert again.predict(key, kind) == learned.predict(key, kind)


@pytest.mark.parametrize("state", [b"", b"{}", b"[1]", b'{"known": {}, "shares": {}, "counts": {}}', b"\xff"])
def test_unreadable_state_is_ignored(state: bytes) -> None:
    learned = Lifetimes(state)
    assert not learned.restored
    assert seconds(learned) == START[TEXT]


def test_forgotten_keys_keep_their_effect_on_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmctld.cache.lifetimes.lifetime.KEYS", 5)
    learned = Lifetimes()
    for number in range(30):
        learned.recomputed(f"k{number}", TEXT, DAY, True)
    assert len(learned._known) == len(learned._shares) == 5
    assert seconds(learned, "new") < DAY


# ---- kinds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("What's the weather in Paris?", TIME),
        ("Who is the current president of France?", TIME),
        ("the latest Python release notes of today's news", CODE),
        ("bitcoin price", TIME),
        ("What time is it in Tokyo", TIME),
        ("Wie ist das Wetter heute?", TIME),
        ("今天天气怎么样", TIME),
        ("What is 2+2?", ARITHMETIC),
        ("12 * (3 + 4) =", ARITHMETIC),
        ("how much is 20 times 7", ARITHMETIC),
        ("Write a SQL query that joins two tables", CODE),
        ("def f(x):\n    return x", CODE),
        ("Why does this fail?\n```\nfoo\n```", CODE),
        ("Who wrote Faust?", TEXT),
        ("I know that snow is white", TEXT),
        ("2024", TEXT),
        ("", TEXT),
    ],
)
def test_kind_is_recognised_by_words_and_patterns(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_kind_of_a_long_text_is_recognised_by_its_start_and_end() -> None:
    assert kind_of("word " * 100_000 + "What is the latest on this?") == TIME
    assert kind_of("word " * 50_000 + "news " + "word " * 50_000) == TEXT
