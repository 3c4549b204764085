"""Folding and restatements: only what carries no meaning is removed."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctld.semantic.words.fold import fold, restated


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  What IS\tthe Capital, of France?! ", "what is the capital of france"),
        ("C++ or C#, .NET", "c++ or c# .net"),
        ("1,000 km/h (about 3.5 %)", "1000 km/h about 3.5 %"),
        ("the U.S.A. and the U.K.", "the usa and the uk"),
        ("don\u2019t \u201cquote\u201d me", "don't quote me"),
        ("long-term e\u2011mail \u2014 so", "long term e mail so"),
        ("-5 and 5-10 and 4 - 5", "-5 and 5-10 and 4 - 5"),
        ("5² and 5½", "5^2 and 5 1/2"),
        ("\uff26\uff35\uff2c\uff2c \ufb01ne Stra\u00dfe", "full fine strasse"),
        ("你好\uff0c世界。", "你好世界"),
        ("मैं कैसे हूँ।", "मैं कैसे हूँ"),
        ("Was `Foo.Bar()` set?", "was Foo.Bar() set"),
        ("**bold** text\n# Title", "bold text title"),
        ("?!", ""),
    ],
)
def test_folded_forms_of_texts(text: str, folded: str) -> None:
    assert fold(text) == folded


APART = [("grep -r x", "grep -R x"), ("see /Etc/x", "see /etc/x"), ("3.10", "3.1"), ("a * b", "a / b"), ("C++", "C#"),
         ("-5", "5"), ("`A`", "`a`"), ("x = 1", "x != 1"), ("5 != 6", "5 = 6")]  # fmt: skip


@pytest.mark.parametrize("pair", APART)
def test_different_texts_fold_differently(pair: tuple[str, str]) -> None:
    assert fold(pair[0]) != fold(pair[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What's the capital of France?", "what is the capital of france"),
        ("Hi, could you please tell me what the capital of France is? Thanks!", "What is the capital of France?"),
        ("Why don't cats swim?", "why do not cats swim"),
        ("I can't sleep", "I cannot sleep."),
        ("Can you explain DNS, please?", "Explain DNS"),
        ("Please explain DNS. Thank you very much!", "explain dns"),
        ("I'd like to know where Paris is", "where is Paris?"),
        ("dont i", "Don't I?"),
        ("Was ist ein Hund, bitte?", "was ist ein hund"),
        ("S'il vous plaît, où est Paris ?", "où est Paris, merci"),
    ],
)
def test_restated_pairs_are_recognised(one: str, other: str) -> None:
    assert restated(one, other)
    assert restated(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("Can you eat raw eggs?", "Eat raw eggs"),
        ("We were there", "We're there"),
        ("Is it on?", "Is it off?"),
        ("Why do cats swim?", "Why don't cats swim?"),
        ("please", "thanks"),
        ("", "x"),
    ],
)
def test_different_questions_are_not_restatements(one: str, other: str) -> None:
    assert not restated(one, other)
    assert not restated(other, one)


@given(st.text(max_size=80))
def test_folding_is_idempotent_without_code(text: str) -> None:
    text = text.replace("`", "").replace("/", "").replace("-", "")  # the case of flags and paths is kept
    assert fold(fold(text)).split() == fold(text).split()


@given(st.text(max_size=60), st.text(max_size=60))
def test_restated_is_symmetric_and_reflexive(a: str, b: str) -> None:
    assert restated(a, b) == restated(b, a)
    assert restated(a, a)


LONG = [
    "-" * 500_000 + "x",
    "a- ",
    "`" * 500_001,
    "```" + "x" * 500_000,
    "a.b.",
    "1,000",
    "é,.",
    "a'",
    "///a",
    " ",
    "(",
]


@pytest.mark.parametrize("text", LONG, ids=lambda text: repr(text[:6]))
def test_restated_takes_linear_time_for_half_a_megabyte(text: str) -> None:
    text = (text * (500_000 // len(text) + 1))[:500_000]
    assert any(_is_linear(text) for _ in range(5))  # other programs may delay one measurement, but not all five
    assert restated(text, text)


def _is_linear(text: str) -> bool:
    """Whether four times the text takes about four times as long; quadratic code would take sixteen times."""
    quarter, whole = _seconds(text[: len(text) // 4]), _seconds(text)
    return whole < 10 * quarter + 0.1


def _seconds(text: str) -> float:
    start = time.process_time()
    fold(text)
    return time.process_time() - start
