"""The echo model: it returns the last user message, with one token per character, and fails when configured to."""

import time

import pytest
from llmctld.engine.echo import Echo
from llmctld.engine.errors import LoadError
from llmctld.engine.messages import Finished

from tests.engine.driver import Driver, echo


def test_echo_answers_with_the_last_user_message() -> None:
    asked = [("system", "be brief"), ("user", "one"), ("assistant", "1"), ("user", "zwei 🎉")]
    reply = Driver(Echo(echo())).ask(asked, max_tokens=100)
    assert reply.text == "zwei 🎉"
    assert reply.done.reason == "stop"
    assert reply.done.prompt_tokens == len("be briefone1zwei 🎉")
    assert reply.done.completion_tokens == len("zwei 🎉") + 1  # the end token counts


@pytest.mark.parametrize(
    ("limit", "reason", "text"), [(3, "length", "hel"), (5, "length", "hello"), (6, "stop", "hello")]
)
def test_max_tokens_truncates_the_echo(limit: int, reason: str, text: str) -> None:
    reply = Driver(Echo(echo())).ask("hello", max_tokens=limit)
    assert (reply.text, reply.done.reason, reply.done.completion_tokens) == (text, reason, limit)


def test_an_empty_message_is_answered_with_nothing() -> None:
    reply = Driver(Echo(echo())).ask("", max_tokens=9)
    assert (reply.text, reply.done.reason, reply.done.prompt_tokens) == ("", "stop", 0)


def test_thinking_is_separated_from_the_answer() -> None:
    reply = Driver(Echo(echo())).ask("<think>plan</think>answer", max_tokens=99)
    assert (reply.text, reply.reasoning) == ("answer", "plan")


def test_tokens_are_code_points() -> None:
    reply = Driver(Echo(echo())).ask([], tokens=[104, 0x1F389], max_tokens=9)
    assert reply.text == "h🎉"
    refusal = Driver(Echo(echo())).ask([], tokens=[0xD800]).refusal
    assert refusal.code == "invalid_request"
    assert "55296" in refusal.message


def test_ignore_eos_repeats_the_text_up_to_max_tokens() -> None:
    reply = Driver(Echo(echo())).ask("abc", max_tokens=7, ignore_eos=True)
    assert (reply.text, reply.done.reason) == ("abcabca", "length")


def test_too_long_prompt_is_refused_with_its_tokens_and_the_context() -> None:
    refusal = Driver(Echo(echo(context=10))).ask("0123456789").refusal
    assert refusal.code == "context_overflow"
    assert "10 tokens" in refusal.message
    assert "context is 10" in refusal.message


def test_max_tokens_is_clipped_to_the_room_the_prompt_leaves() -> None:
    reply = Driver(Echo(echo(context=12))).ask("0123456789", max_tokens=100)
    assert (reply.text, reply.done.reason) == ("01", "length")


def test_configured_delays_are_kept_and_shared_by_the_batch() -> None:
    driver = Driver(Echo(echo(first_ms=40, token_ms=10)))
    begin = time.monotonic()
    for _ in range(4):
        driver.submit("abc")
    driver.run()
    assert time.monotonic() - begin >= 0.040 + 3 * 0.010
    events = [event for step in driver.steps for event in step.events]
    kinds = [type(event) for event in events]
    first_end = kinds.index(Finished)
    assert {event.id for event in events[:first_end]} == {1, 2, 3, 4}, "all four started before the first one ended"
    assert all(reply.text == "abc" and reply.done.prefill_ms >= 40 for reply in driver.replies.values())


def test_cancel_does_not_wait_for_a_long_delay() -> None:
    driver = Driver(Echo(echo(first_ms=60_000)))
    id = driver.submit("abc")
    driver.step()
    begin = time.monotonic()
    driver.drop(id)
    driver.step()
    assert driver.replies[id].done.reason == "cancelled"
    assert time.monotonic() - begin < 30, "the delay is a minute"


def test_configured_failures_happen() -> None:
    with pytest.raises(LoadError, match="set to fail"):
        Echo(echo(fail="load"))
    with pytest.raises(LoadError, match="'boom'"):
        Echo(echo(fail="boom"))
    driver = Driver(Echo(echo(fail="error")))
    assert [driver.ask("x").refusal.code for _ in range(2)] == ["engine_failed", "engine_failed"]
