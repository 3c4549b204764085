"""The clock of the day is set while the hub runs: that is noticed by a clock that cannot be set, and nothing lives for ever."""

import pytest
from llmctld.runtime.clock import DAY_S, TOLERANCE_S, WallClock, steady

YEARS = 20 * 365 * DAY_S


class Hands:
    """Both clocks. `pass_` lets time pass."""

    wall, steady = 1_700_000_000.0, 50.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.mark.parametrize("step", [YEARS, -YEARS, TOLERANCE_S + 1])
def test_set_clock_is_noticed_until_it_is_right_again(step: float) -> None:
    hands = Hands()
    clock = WallClock(lambda: hands.wall, lambda: hands.steady)
    hands.pass_(1000.0)
    assert not clock.was_set()
    hands.wall += step
    assert clock.was_set()
    hands.pass_(1000.0)
    assert clock.was_set()
    hands.wall -= step
    assert not clock.was_set()


def test_clock_that_stays_as_it_was_set_is_believed_after_a_day() -> None:
    hands = Hands()
    clock = WallClock(lambda: hands.wall, lambda: hands.steady)
    hands.wall += YEARS
    hands.pass_(DAY_S + 1)
    assert [clock.was_set(), clock.was_set()] == [True, False]


def test_small_corrections_are_no_set_clock() -> None:
    hands = Hands()
    clock = WallClock(lambda: hands.wall, lambda: hands.steady)
    for _ in range(20):
        hands.pass_(DAY_S / 10)
        hands.wall += TOLERANCE_S / 20
        assert not clock.was_set()


def test_steady_clock_goes_on() -> None:
    before = steady()
    assert steady() >= before
