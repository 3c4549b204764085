"""What a program sees of the client: answers, streams, exceptions, and a hub that falls silent."""

import time
from typing import Any

import pytest

from llmctl import errors, launch, wire
from llmctl import link as link_module
from llmctl.client import Client
from llmctl.errors import LlmctlError
from llmctl.link import Exchange, Link
from llmctl.paths import Paths
from tests.client.conftest import Heard, MakeFake
from tests.e2e.house import until


def test_ask_returns_the_answer_and_passes_on_notices(fake: MakeFake, client: Client, heard: Heard) -> None:
    hub = fake()
    answer = client.ask("why is that?", model="m", seed=7, tag=["a", "b"], timeout="15m", no_cache=True)
    assert (answer.text, answer.model, answer.user) == ("why is that?", "m", "ana")
    assert heard == ["a notice"]
    asked = hub.asked
    assert (asked["protocol"], asked["seed"], asked["tags"], asked["timeout"], asked["cache"]) == (
        wire.PROTOCOL, 7, ["a", "b"], 900.0, "skip",
    )  # fmt: skip
    assert "stream" not in asked, "a whole answer needs no deltas"


def test_an_unknown_option_is_a_type_error(client: Client) -> None:
    with pytest.raises(TypeError, match="temprature"):
        client.ask("x", temprature=1)
    with pytest.raises(TypeError, match="no_stream"):
        client.stream("x", no_stream=True)


def test_tokens_are_sent_unchanged(fake: MakeFake, client: Client) -> None:
    hub = fake()
    client.ask(tokens=[1, 2, 3], ignore_eos=True, max_tokens=5)
    assert (hub.asked["tokens"], hub.asked["ignore_eos"]) == ([1, 2, 3], True)
    assert "prompt" not in hub.asked


def test_a_chat_is_sent_as_messages(fake: MakeFake, client: Client) -> None:
    hub = fake()
    chat: list[dict[str, Any]] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": None},
    ]
    client.ask(messages=chat)
    assert hub.asked["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]
    assert "prompt" not in hub.asked
    client.stream(messages=iter(chat)).close()
    assert len(chat[1]["content"]) == 1, "what was given is not changed"


def test_a_stream_comes_in_pieces_and_keeps_the_answer(fake: MakeFake, client: Client) -> None:
    fake()
    stream = client.stream("one two three")
    assert list(stream) == ["one", " two", " three"]
    assert stream.answer is not None
    assert stream.answer.text == "one two three"


def test_an_answer_without_deltas_is_streamed_whole(fake: MakeFake, client: Client) -> None:
    fake()
    assert list(client.stream("one two", extract=True)) == ["one two"]


@pytest.mark.parametrize("how", ["close", "with", "forgotten"])
def test_closing_a_stream_cancels_its_request(fake: MakeFake, client: Client, how: str) -> None:
    hub = fake()
    stream = client.stream("one two", model="slow")
    assert next(stream) == "one"
    if how == "close":
        stream.close()
    elif how == "with":
        with stream:
            pass
    else:
        del stream
    until(lambda: "cancel" in hub.kinds(), what="the hub is told")
    assert client.ask("and on").text == "and on"


def test_two_streams_at_once_do_not_mix(fake: MakeFake, client: Client) -> None:
    fake()
    one, two = client.stream("a b c"), client.stream("d e f")
    assert [next(two), next(one), next(two), next(one)] == ["d", "a", " e", " b"]
    assert (list(one), list(two)) == ([" c"], [" f"])


def test_deltas_are_acknowledged(fake: MakeFake, client: Client) -> None:
    hub = fake()
    text = " ".join("x" * 100)
    assert "".join(client.stream(text)) == text
    until(lambda: hub.kinds().count("ack") == 3, what="the hub reads them")
    assert {request["count"] for request in hub.seen if request["type"] == "ack"} == {wire.WINDOW // 2}


def test_every_error_code_raises_its_exception(fake: MakeFake, client: Client) -> None:
    fake()
    for code, kind in errors.ERRORS.items():
        with pytest.raises(kind) as caught:
            client.ask("x", model=f"fails-{code}")
        assert type(caught.value) is kind
        assert (caught.value.message, caught.value.hint) == (f"failed with {code}", "do this")


def test_a_failure_carries_the_partial_answer(fake: MakeFake, client: Client) -> None:
    fake()
    with pytest.raises(errors.Timeout) as caught:
        client.ask("what came", model="fails-timeout")
    assert caught.value.answer is not None
    assert caught.value.answer.text == "what came"
    stream = client.stream("what came", model="fails-timeout")
    with pytest.raises(errors.Timeout):
        list(stream)
    assert stream.answer is not None


def test_a_request_cancelled_from_elsewhere_raises_cancelled(fake: MakeFake, client: Client) -> None:
    fake()
    with pytest.raises(errors.Cancelled) as caught:
        client.ask("x", model="elsewhere")
    assert caught.value.status == 143


def test_reasoning_can_be_hidden(fake: MakeFake, client: Client) -> None:
    fake()
    assert client.ask("x", model="thinks").reasoning == "let me see"
    assert client.ask("x", model="thinks", reasoning="hide").reasoning is None
    with pytest.raises(errors.Usage):
        client.ask("x", reasoning="maybe")


def test_replies_yields_the_raw_messages_up_to_the_final_one(fake: MakeFake, client: Client) -> None:
    fake()
    kinds = [type(reply) for reply in client.replies(wire.Generate(prompt="a b", stream=True))]
    assert kinds == [wire.Delta, wire.Delta, wire.Notice, wire.Done]


def test_a_hub_that_vanishes_is_noticed(fake: MakeFake, client: Client) -> None:
    hub = fake("vanishes")
    with pytest.raises(errors.Unreachable, match=rf"pid {hub.process.pid}\) ended before it answered"):
        client.ask("x")


def test_a_stopping_hub_is_waited_for(fake: MakeFake, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket file is gone but it holds its lock: it still finishes its requests."""
    monkeypatch.setattr(link_module, "LOOK_S", 0.02)
    hub = fake()
    link = Link(paths.socket, hub.process.pid)
    exchange = Exchange(link, wire.Generate(prompt="a b", model="slow"))
    until(lambda: "generate" in hub.kinds())
    paths.socket.unlink()
    assert isinstance(next(exchange), wire.Progress), "after a second, and many looks, of silence"
    hub.end()
    with pytest.raises(errors.Unreachable, match="ended before it answered"):
        list(exchange)
    link.close()


def test_a_stalled_hub_is_reported_as_unresponsive(fake: MakeFake, paths: Paths) -> None:
    hub = fake("stalls")
    link = Link(paths.socket, hub.process.pid)
    with pytest.raises(errors.Unreachable, match="does not answer"):
        list(Exchange(link, wire.Generate(prompt="x"), patience=0.3))
    link.close()


def test_heartbeats_keep_a_long_request_from_timing_out(
    fake: MakeFake, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock advances by half of the patience per heartbeat, so three of them exceed it."""
    skipped, clock = 0.0, time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + skipped)
    monkeypatch.setattr(link_module, "LOOK_S", 0.02)
    hub = fake()
    link = Link(paths.socket, hub.process.pid)
    exchange = Exchange(link, wire.Generate(prompt="x", model="slow"), patience=600)
    for _ in range(3):
        assert isinstance(next(exchange), wire.Progress)
        skipped += 300
    exchange.cancel()
    link.close()


def test_a_request_that_a_stopping_hub_had_not_begun_is_retried(fake: MakeFake, client: Client) -> None:
    hub = fake("retry")
    assert client.ask("again").text == "again"
    assert hub.kinds().count("generate") == 2


def test_a_client_works_again_after_its_hub_was_replaced(fake: MakeFake, client: Client) -> None:
    fake().end()
    fake()
    assert client.ask("one").text == "one"
    client.call(wire.Stop())
    fake()
    assert client.ask("two").text == "two"


def test_an_unencodable_request_is_refused_by_the_client(
    fake: MakeFake, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    with pytest.raises(errors.InvalidRequest, match="UTF-8"):
        client.ask("caf\udce9")
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 10)
    with pytest.raises(errors.InvalidRequest, match="the limit is 10"):
        client.ask("much too long")


def test_closing_twice_is_harmless(fake: MakeFake, client: Client) -> None:
    fake()
    client.ask("x")
    client.close()
    client.close()
    assert client.ask("y").text == "y"


def test_closing_the_client_cancels_its_streams(fake: MakeFake, client: Client) -> None:
    hub = fake()
    stream = client.stream("one two", model="slow")
    next(stream)
    client.close()
    until(lambda: "cancel" in hub.kinds(), what="the hub is told")
    with pytest.raises(errors.Unreachable):
        list(stream)
    stream.close()


def test_every_failure_is_an_llmctl_error(fake: MakeFake, client: Client) -> None:
    fake()
    with pytest.raises(LlmctlError) as caught:
        client.ask("x", model="fails-a_code_of_tomorrow")
    assert (caught.value.status, "a_code_of_tomorrow" in caught.value.message) == (3, True)
    assert launch.running(client.paths) is not None
