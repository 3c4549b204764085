"""Tokens per second, with a clock set by the test."""

from llmctld.engine.cost.rate import WINDOW_S, Rate


def test_rate_is_tokens_per_second() -> None:
    rate = Rate()
    rate.add(10.0, 1)
    assert rate.per_second() == 0.0, "the first step only starts the clock"
    for step in range(1, 5):
        rate.add(10.0 + step * 0.5, 3)
    assert rate.per_second() == 6.0


def test_tokens_outside_the_window_are_not_counted() -> None:
    rate = Rate()
    for tenth in range(20):
        rate.add(tenth / 10, 100)
    for second in range(3):
        rate.add(2.0 + WINDOW_S + second, 1)
    assert rate.per_second() == 1.0


def test_rate_restarts_after_clear() -> None:
    rate = Rate()
    rate.add(1.0, 50)
    rate.add(2.0, 50)
    rate.clear()
    assert rate.per_second() == 0.0
    rate.add(3.0, 1)
    rate.add(3.5, 1)
    assert rate.per_second() == 2.0
