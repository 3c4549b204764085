"""The breaker opens after consecutive failures, lets one trial request through later, and closes when it is answered."""

from contextlib import suppress

import pytest
from llmctld.models.remote.http.breaker import COOL_S, FAILURES, AttemptFailed, Breaker

from llmctl.errors import EngineFailed, InvalidRequest, ModelUnavailable


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: Breaker, counts: bool = True) -> None:
    with suppress(AttemptFailed), breaker.attempt():
        raise AttemptFailed(EngineFailed("no"), counts=counts)


def opened(clock: Clock) -> Breaker:
    breaker = Breaker("the endpoint", clock)
    for _ in range(FAILURES):
        assert not breaker.is_open
        fail(breaker)
    assert breaker.is_open
    return breaker


def refused(breaker: Breaker) -> str:
    with pytest.raises(ModelUnavailable) as caught, breaker.attempt():
        raise AssertionError("it was let through")
    return caught.value.message


def test_breaker_opens_after_consecutive_failures_and_states_the_retry_time() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 3
    words = refused(breaker)
    assert f"the endpoint failed {FAILURES} times in a row" in words
    assert f"in {COOL_S - 3:g} s" in words
    assert words.endswith("no")


def test_answers_and_uncounted_failures_keep_the_breaker_closed() -> None:
    breaker = Breaker("e", Clock())
    for _ in range(3):
        for _ in range(FAILURES - 1):
            fail(breaker)
        breaker.answered()
    for _ in range(FAILURES):
        fail(breaker, counts=False)
    with pytest.raises(InvalidRequest), breaker.attempt():
        raise InvalidRequest("a refusal is no failure")
    assert not breaker.is_open


def test_successful_trial_request_closes_the_breaker() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += COOL_S
    with breaker.attempt():
        assert "by another request just now" in refused(breaker)
        breaker.answered()
        with breaker.attempt():
            pass
    assert not breaker.is_open


def test_failed_trial_request_keeps_the_breaker_open() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += COOL_S
    fail(breaker)
    refused(breaker)
    clock.now += COOL_S
    fail(breaker)
    assert breaker.is_open


def test_next_request_after_a_cancelled_trial_is_a_trial() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += COOL_S
    with pytest.raises(KeyboardInterrupt), breaker.attempt():
        raise KeyboardInterrupt
    with breaker.attempt():
        breaker.answered()
    assert not breaker.is_open
