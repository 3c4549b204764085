"""Whether two answers are the same: True only if equal, False only if contradictory, else None for a judge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctld.semantic.same import same_answer


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ("Paris.", "paris", True),
        ("", "", True),
        ("The answer is 1,000.", "the answer is 1000", True),
        ("Paris.", "London", False),
        ("It costs 5 dollars.", "It costs 6 dollars.", False),
        ("It is 5 km.", "It is 5 miles.", False),
        ("Built in 1889.", "Built in 1887.", False),
        ("Built in 1889.", "Built long ago.", False),
        ("About 50 %.", "About 50 people.", False),
        ("Python 3.10", "Python 3.1", False),
        ("Isaac Newton found it.", "Albert Einstein found it.", False),
        ("Written by Alice Smith.", "Written by Bob Jones.", False),
        ("Yes, it does.", "No, it does not.", False),
        ("It is two.", "It is 2.", None),
        ("It is one km.", "It is 1000 m.", None),
        ("It is enabled.", "It is disabled.", None),
        ("The USA won.", "The United States won.", None),
        ("AI is useful.", "Artificial intelligence is useful.", None),
        ("It lies in Paris, in France.", "It lies in Paris.", None),
        ("1. Eat.\n2. Sleep.", "Eat, then sleep.", None),
        ("Water boils at 100 °C.", "It boils at 100 degrees Celsius.", None),
        ("Water is wet.", "Wetness is what water has.", None),
        ("Set `A`.", "Set `a`.", None),
    ],
)
def test_pairs_of_answers_get_the_expected_verdict_in_both_orders(one: str, other: str, verdict: bool | None) -> None:
    assert same_answer(one, other) is verdict
    assert same_answer(other, one) is verdict


@given(st.text(max_size=80), st.text(max_size=80))
def test_the_verdict_is_symmetric_and_true_for_equal_texts(a: str, b: str) -> None:
    assert same_answer(a, b) is same_answer(b, a)
    assert same_answer(a, a) is True
