"""The loop as its requests see it: each gets its own answer and exactly one end, whatever happens to the others."""

import time

import pytest
from llmctld.engine.core import loop
from llmctld.engine.echo import Echo
from llmctld.engine.errors import Refusal
from llmctld.engine.messages import Finished, Piece, Submit
from llmctld.engine.prompt.prompt import Prompt
from llmctld.engine.streams.sequence import Chunk

from tests.engine.driver import Driver, echo


class Broken(Echo):
    """An echo with bugs: one in a request, one in the computation."""

    def encode(self, submit: Submit) -> Prompt:
        if submit.stop == ["bug"]:
            raise KeyError("a bug of ours")
        return super().encode(submit)

    def decode(self, chunks: list[Chunk]) -> list[list[int] | Refusal]:
        if any(chunk.sequence.max_tokens == 13 for chunk in chunks):
            raise RuntimeError("llama_decode returned -3")
        return super().decode(chunks)


@pytest.fixture
def driver() -> Driver:
    return Driver(Echo(echo(slots=2)))


@pytest.fixture
def each_token_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every token its own piece, whatever the clock says."""
    monkeypatch.setattr(loop, "SHOW_S", 0.0)


@pytest.fixture
def told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first token no further piece is due before the end, whatever the clock says."""
    monkeypatch.setattr(loop, "SHOW_S", 3600.0)


def test_answer_ends_before_the_stop_string(driver: Driver) -> None:
    reply = driver.ask("one two three", stop=["two", "zzz"], max_tokens=99)
    assert (reply.text, reply.done.reason) == ("one ", "stop")
    assert reply.done.completion_tokens == len("one two")


def test_text_held_back_for_a_stop_string_is_sent_at_the_end(driver: Driver) -> None:
    assert driver.ask("one tw", stop=["two"], max_tokens=99).text == "one tw"
    assert driver.ask("one two", stop=["two"], max_tokens=6).text == "one tw"


def test_a_waiting_request_can_be_cancelled(driver: Driver) -> None:
    first, second, third = (driver.submit("abc" * 9, max_tokens=99) for _ in range(3))
    driver.step()
    assert (driver.steps[-1].busy, driver.steps[-1].waiting) == (2, 1)
    driver.drop(third)
    driver.step()
    done = driver.replies[third].done
    assert (done.reason, done.completion_tokens, done.prefill_ms, done.decode_ms) == ("cancelled", 0, 0.0, 0.0)
    driver.run()
    assert driver.replies[first].text == driver.replies[second].text == "abc" * 9


def test_waiting_request_moved_up_is_answered_first(driver: Driver) -> None:
    first, _, batch, other = (
        driver.submit("abc" * (9 - number), max_tokens=99, priority=1 + (number == 2)) for number in range(4)
    )
    driver.step()
    driver.move(batch, "another", 0)
    driver.move(99, "nobody", 0)
    while not driver.replies[first].ends:
        driver.step()
    assert driver.replies[batch].text, "it started when the first slot became free"
    assert not driver.replies[other].text
    driver.run()


def test_cancel_takes_effect_in_one_step_and_frees_the_slot(driver: Driver) -> None:
    first, second, third = (driver.submit("abcdef" * 9, max_tokens=99) for _ in range(3))
    driver.step(4)
    driver.drop(first)
    driver.step()
    done = driver.replies[first].done
    assert (done.reason, driver.replies[first].text, done.completion_tokens) == ("cancelled", "abcd", 4)
    assert driver.replies[third].text == "a", "the freed slot was not used in the same step"
    driver.run()
    assert driver.replies[second].done.reason == driver.replies[third].done.reason == "stop"


def test_cancel_of_a_finished_or_unknown_request_sends_no_event(driver: Driver) -> None:
    id = driver.submit("abc")
    driver.run()
    steps = len(driver.steps)
    driver.drop(id)
    driver.drop(99)
    driver.submit("x")
    driver.run()
    assert driver.replies[id].ends == 1
    assert not [event for step in driver.steps[steps:] for event in step.events if event.id in (id, 99)]


def test_exception_in_one_request_ends_only_that_request(capsys: pytest.CaptureFixture[str]) -> None:
    driver = Driver(Broken(echo()))
    good, bad = driver.submit("abc"), driver.submit("abc", stop=["bug"])
    driver.run()
    assert driver.replies[bad].refusal.code == "internal"
    assert "a bug of ours" in driver.replies[bad].refusal.message
    assert "Traceback" in capsys.readouterr().err
    assert driver.replies[good].text == "abc"


def test_failed_decode_ends_the_loop() -> None:
    driver = Driver(Broken(echo()))
    driver.submit("abc", max_tokens=13)
    with pytest.raises(RuntimeError, match="-3"):
        driver.run()


def test_max_tokens_below_one_is_refused(driver: Driver) -> None:
    assert driver.ask("abc", max_tokens=0).refusal.code == "invalid_request"


@pytest.mark.usefixtures("each_token_told")
def test_events_of_all_sequences_of_a_step_are_in_one_frame(driver: Driver) -> None:
    one, two = driver.submit("ab"), driver.submit("xy")
    driver.run()
    texts = [[event.text for event in step.events if isinstance(event, Piece)] for step in driver.steps]
    assert texts == [[], ["a", "x"], ["b", "y"], []]
    last = driver.steps[-1]
    assert [event.id for event in last.events if isinstance(event, Finished)] == [one, two]
    assert (last.busy, last.waiting, last.tokens_per_second) == (0, 0, 0.0)


def test_running_request_is_reported_before_its_first_token() -> None:
    driver = Driver(Echo(echo(first_ms=60_000)))
    driver.submit("abc")
    driver.step()
    assert [(step.busy, step.events) for step in driver.steps] == [(1, [])]


def test_queue_time_and_computing_time_are_measured_separately() -> None:
    driver = Driver(Echo(echo(slots=1, token_ms=2)))
    begin = time.monotonic()
    first, second = driver.submit("abcdef"), driver.submit("abcdef")
    driver.run()
    whole = (time.monotonic() - begin) * 1e3
    before, after = driver.replies[first].done, driver.replies[second].done
    assert before.decode_ms >= 12
    assert after.queue_ms >= before.decode_ms
    for done in (before, after):
        assert done.queue_ms + done.prefill_ms + done.decode_ms <= whole + 0.1, "no time is counted twice"


@pytest.mark.usefixtures("each_token_told")
def test_tokens_per_second_are_reported_during_generation() -> None:
    """How they are counted is tested in test_rate.py."""
    driver = Driver(Echo(echo()))
    driver.ask("x" * 30, max_tokens=99)
    assert all(step.tokens_per_second > 0 for step in driver.steps[-10:-1])
    assert driver.steps[-1].tokens_per_second == 0.0


@pytest.mark.usefixtures("each_token_told")
def test_text_of_a_request_without_streaming_is_sent_in_two_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "many words that come one by one " * 8
    monkeypatch.setattr(loop, "TELL_S", 3600.0)
    driver = Driver(Echo(echo()))
    told, held = driver.ask(text, max_tokens=999), driver.ask(text, max_tokens=999, streams=False)
    assert told.text == held.text == text
    assert told.pieces == len(text)
    assert held.pieces == 2, "one piece at the start and one at the end"


@pytest.mark.usefixtures("told_once")
def test_streamed_tokens_within_the_display_interval_form_one_piece(driver: Driver) -> None:
    id = driver.submit("abcdefgh", max_tokens=99)
    driver.step()
    assert driver.replies[id].text == "a", "the first token is sent immediately"
    driver.run()
    assert (driver.replies[id].text, driver.replies[id].pieces) == ("abcdefgh", 2)


@pytest.mark.usefixtures("told_once")
def test_streamed_token_is_sent_before_a_prompt_step(driver: Driver) -> None:
    first = driver.submit("abcdef", max_tokens=99)
    driver.step(2)
    assert driver.replies[first].text == "a"
    driver.submit("x" * 8, max_tokens=99)
    before = len(driver.steps)
    driver.step()
    assert driver.replies[first].text.startswith("ab")
    assert any(isinstance(event, Piece) and event.text == "b" for event in driver.steps[before].events), (
        "the token is sent before the prompt step"
    )


@pytest.mark.usefixtures("told_once")
def test_failed_request_has_sent_all_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Echo(echo())
    driver = Driver(model)
    id = driver.submit("abcdef", max_tokens=99)
    driver.step(3)
    monkeypatch.setattr(model, "decode", lambda chunks: [Refusal("engine_failed", "it cannot")] * len(chunks))
    driver.run()
    assert (driver.replies[id].text, driver.replies[id].refusal.code) == ("abc", "engine_failed")


def test_cancelled_request_sends_its_held_back_text_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "TELL_S", 3600.0)
    driver = Driver(Echo(echo()))
    id = driver.submit("abcdefghij", max_tokens=99, streams=False)
    driver.step(5)
    assert driver.replies[id].text == "a"
    driver.drop(id)
    driver.step()
    assert driver.replies[id].text == "abcde"


def test_work_for_pauses_waits_for_the_first_answer_and_ends_when_a_request_arrives(driver: Driver) -> None:
    calls: list[int] = []

    def work() -> bool:
        calls.append(len(driver.replies))
        if len(calls) == 3:
            driver.submit("b")
        return True

    driver.loop._when_idle = work
    assert driver.ask("a").text == "a"
    assert calls == [], "no pause before the first answer, and none while a request waits"
    driver.step()
    assert calls == [1, 1, 1]
    driver.run()
    assert driver.replies[2].text == "b"
