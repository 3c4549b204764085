"""The drafter compared with a slow reference that searches the whole text; and short texts with obvious drafts."""

import hypothesis.strategies as st
import pytest
from hypothesis import given
from llmctld.engine.drafts.lookup import SIZES, Draft, Drafter, Prediction

TEXT = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def searched(tokens: list[int], limit: int) -> Draft:
    """Searches backwards, token by token, for the latest earlier place of the last `size` tokens."""
    for size in SIZES:
        for end in range(len(tokens) - 1, size - 1, -1):
            if tokens[end - size : end] == tokens[-size:]:
                grown = list(tokens)
                for at in range(end, end + limit):
                    grown.append(grown[at])
                return Draft(grown[len(tokens) :], size)
    return Draft([], 0)


@given(TEXT, st.lists(st.integers(1, 7), max_size=20), st.integers(0, 12))
def test_drafter_matches_a_full_search_for_any_split(text: list[int], parts: list[int], limit: int) -> None:
    drafter = Drafter()
    ends = [sum(parts[:count]) for count in range(1, len(parts) + 1)]
    for end in [*(end for end in ends if end < len(text)), len(text)]:
        drafter.read(text[:end])
        assert drafter.propose(text[:end], limit) == searched(text[:end], limit)


@given(TEXT, TEXT)
def test_each_new_token_reports_whether_its_draft_was_right(prompt: list[int], answer: list[int]) -> None:
    drafter = Drafter()
    assert drafter.read(prompt) == []
    expected = []
    for at, token in enumerate(answer):
        draft = searched(prompt + answer[:at], 1)
        expected += [Prediction(draft.size, draft.tokens == [token])] if draft.size else []
    assert drafter.read(prompt + answer) == expected


@pytest.mark.parametrize(
    ("text", "draft"),
    [
        ("to be or not to b", "e or not"),
        ("ababab", "abababab"),
        ("one two three, one two t", "hree, on"),
        ("x = f(a); y = f(b); z = f(", "b); z = "),  # the latest of two equally long matches
        ("x(a, b) y(c, b) x(a, ", "b) y(c, "),  # a longer match is preferred to a later shorter one
        ("abcdefg", ""),
    ],
)
def test_drafts_for_short_example_texts(text: str, draft: str) -> None:
    tokens = [ord(letter) for letter in text]
    drafter = Drafter()
    drafter.read(tokens)
    assert "".join(map(chr, drafter.propose(tokens, 8).tokens)) == draft
