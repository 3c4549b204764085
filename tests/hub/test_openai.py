"""The language of endpoints: what is sent, what is refused, and how an answer is read whatever form it has."""

import json
import time
from email.utils import formatdate
from typing import Any

import pytest
from llmctld.engine.messages import Adapter, ChatMessage, Submit
from llmctld.models import openai, refusal
from llmctld.models.breaker import Trouble
from llmctld.models.openai import Piece, Reading

from llmctl.errors import ContextOverflow, InvalidRequest, ModelUnavailable

SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": True, "strict": True}}
SENT: dict[str, tuple[Any, dict[str, Any]]] = {
    "messages": ([ChatMessage("user", "why?")], {"messages": [ChatMessage("user", "why?")]}),
    "tokens": ([1, 2], {"prompt": [1, 2]}),
    "raw": (True, {"prompt": "hi"}),
    "max_tokens": (7, {"max_tokens": 7}),
    "temperature": (0.5, {"temperature": 0.5}),
    "top_p": (0.5, {"top_p": 0.5}),
    "top_k": (5, {"top_k": 5}),
    "min_p": (0.5, {"min_p": 0.5}),
    "repeat_penalty": (1.5, {"repeat_penalty": 1.5, "repetition_penalty": 1.5}),
    "presence_penalty": (0.5, {"presence_penalty": 0.5}),
    "frequency_penalty": (0.5, {"frequency_penalty": 0.5}),
    "logit_bias": ({"7": 1.0}, {"logit_bias": {"7": 1.0}}),
    "seed": (7, {"seed": 7}),
    "stop": (["x"], {"stop": ["x"]}),
    "ignore_eos": (True, {"ignore_eos": True}),
    "schema": ("true", {"response_format": SCHEMA}),
    "grammar": ("root ::= []", {"grammar": "root ::= []"}),
    "logprobs": (3, {"logprobs": True, "top_logprobs": 3}),
}  # fmt: skip
"""Field of a Submit -> a value, and what an endpoint gets for it."""
REFUSED = {"adapters": (Adapter("a.gguf", 1.0),), "repro": True}
OURS = {"id", "user", "priority", "streams"}
"""Who asks, and in which order they are served, is no endpoint's business; how an answer is told to the client neither."""


def ask(**fields: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"id": 1, "max_tokens": 9, "messages": [ChatMessage("user", "hi")]}
    return openai.ask(Submit(**(plain | fields)), "m", takes_grammar=True).body


def test_every_field_is_sent_or_refused_or_none_of_theirs() -> None:
    assert set(Submit.__struct_fields__) == SENT.keys() | REFUSED.keys() | OURS


@pytest.mark.parametrize("name", SENT)
def test_a_field_is_sent(name: str) -> None:
    value, expected = SENT[name]
    body = ask(**{name: value})
    assert {key: body[key] for key in expected} == expected
    assert not ({*expected} - {"messages", "max_tokens"}) & ask().keys(), "what nobody set is not sent"


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_said_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        ask(**{name: REFUSED[name]})


def read(*events: object, raw: bool = False) -> tuple[str, str, Reading]:
    reading = Reading("it", raw)
    pieces = [reading.feed(event if isinstance(event, bytes) else json.dumps(event).encode()) for event in events]
    pieces.append(reading.end())
    return "".join(piece.text for piece in pieces), "".join(piece.reasoning for piece in pieces), reading


def part(text: str | None = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text, **more}, "finish_reason": reason}], "usage": None}


@pytest.mark.parametrize(
    ("events", "text", "thought"),
    [
        ([part("", role="assistant"), part("a"), part("b", "stop"), b"[DONE]"], "ab", ""),
        ([{"choices": [{"text": "a"}]}, {"choices": [{"text": "b", "finish_reason": "length"}]}], "ab", ""),
        ([{"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]}], "ab", ""),
        ([part(None, reasoning_content="hm"), part("a"), b" [DONE] "], "a", "hm"),
        ([part(None, reasoning="hm", reasoning_details=[{}]), part("a"), b"[DONE]"], "a", "hm"),
        ([part("<think>h"), part("m</th"), part("ink>a", "stop")], "a", "hm"),
        ([part("<thi"), part("rd>", "stop")], "<third>", ""),
        ([part(None, "stop", refusal="no")], "no", ""),
    ],
)
def test_an_answer_is_read_in_each_of_its_forms(events: list[Any], text: str, thought: str) -> None:
    assert read(*events)[:2] == (text, thought)


def test_a_raw_text_is_left_as_it_is() -> None:
    assert read(part("<think>a", "stop"), raw=True)[:2] == ("<think>a", "")


def test_usage_may_come_with_any_event_and_the_last_one_counts() -> None:
    late = {"prompt_tokens": 4, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    first = part("a") | {"usage": {"prompt_tokens": 4, "completion_tokens": 1, "prompt_tokens_details": None}}
    *_, reading = read(first, part("b", "stop"), {"choices": [], "usage": late}, b"[DONE]")
    assert (reading.prompt_tokens, reading.cached_tokens, reading.completion_tokens) == (4, 3, 2)
    *_, reading = read(part("a"), part("b"), b"[DONE]")
    assert (reading.prompt_tokens, reading.completion_tokens) == (0, 2)


def test_an_answer_without_its_end_is_cut_and_one_without_anything_is_empty() -> None:
    with pytest.raises(Trouble, match="finish_reason") as cut:
        read(part("a"))
    assert not isinstance(cut.value, openai.Empty)
    with pytest.raises(openai.Empty):
        read()


@pytest.mark.parametrize(
    "event", [b"{", b"7", b"\xff", b'{"choices": {}}', b'{"choices": [{"delta": 7}]}', b"[" * 100_000]
)
def test_what_is_no_event_is_trouble_that_no_other_attempt_mends(event: bytes) -> None:
    with pytest.raises(Trouble) as caught:
        Reading("it", False).feed(event)
    assert not caught.value.again


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "no", "code": 400}, InvalidRequest),
        ({"message": "no", "code": "context_length_exceeded", "type": 1}, Trouble),
        ({"message": "n", "code": 400, "type": "exceed_context_size_error"}, ContextOverflow),
        ("overloaded", Trouble),
    ],
)
def test_an_error_within_a_stream_is_what_it_would_be_before_it(error: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        Reading("it", False).feed(json.dumps({"error": error}).encode())


TOP = {"token": "b", "logprob": -0.5}
TWO = {"c": -2.0, "b": -0.5}


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        ({"content": [{"token": "a", "logprob": -1.0, "top_logprobs": [TOP]}]}, ("a", -1.0, [("b", -0.5)])),
        ({"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [TWO]}, ("a", -1.0, [("b", -0.5), ("c", -2.0)])),
        ({"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": None}, ("a", -1.0, [])),
        ({"tokens": ["a"], "token_logprobs": [None]}, None),
        ({"something": "else"}, None),
        ({"content": [7]}, None),
    ],
)  # fmt: skip
def test_log_probabilities_in_each_of_their_forms(logprobs: dict[str, Any], expected: Any) -> None:
    event = {"choices": [{"text": "a", "finish_reason": "stop", "logprobs": logprobs}]}
    scored = read(event)[2].logprobs
    assert [(each.token, each.logprob, each.top) for each in scored] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (
            "This model's maximum context length is 512 tokens. However, you requested 2060 tokens (12 in the messages, "
            "2048 in the completion).",
            500,
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 2048. This model's maximum context length is 512 tokens "
            "and your request has 12 input tokens (2048 > 512 - 12).",
            500,
        ),
        (
            "You passed 12 input tokens and requested 2048 output tokens. However, the model's context length is only 512 "
            "tokens, resulting in a maximum input length of 0 tokens.",
            500,
        ),
        (
            "This model's maximum context length is 8 tokens. However, you requested 60 tokens (12 in the messages, 48 in "
            "the completion).",
            None,
        ),
        ("the request exceeds the available context size", None),
    ],
)  # fmt: skip
def test_the_room_that_a_refusal_names(words: str, left: int | None) -> None:
    body = ask(max_tokens=2048)
    assert refusal.room(words) == left
    assert openai.fit(words, body) == (left is not None)
    assert body["max_tokens"] == (left or 2048)
    assert not openai.fit(words, body), "and there is no second time"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "no", "code": "x"}}', "no"),
        (b'{"error": "no"}', "no"),
        (b'{"detail": "no"}', "no"),
        (b'{"message": "no"}', "no"),
        (b'{"error": {"error": "no"}}', "no"),
        (b"<html>\nlong", "<html>"),
        (b'"no"', "no"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_a_refusal_in_each_of_its_forms(body: bytes, words: str) -> None:
    assert refusal.read(body).words == words


def test_when_to_come_back() -> None:
    assert [refusal.retry_after(text) for text in (None, "", "2", "1.5", "-3", "soon")] == [0, 0, 2, 1.5, 0, 0]
    assert refusal.retry_after(formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=30)
    assert refusal.retry_after(formatdate(time.time() - 60, usegmt=True)) == 0


@pytest.mark.parametrize(
    ("status", "again"), [(429, True), (500, True), (502, True), (503, True), (504, True), (501, False)]
)
def test_what_another_attempt_may_mend(status: int, again: bool) -> None:
    found = refusal.refused("it", status, refusal.Said("no", ""), 3.0)
    assert isinstance(found, Trouble)
    assert (found.again, found.after, found.counts) == (again, 3.0 * again, status not in (429, 500))
    assert isinstance(refusal.refused("it", 308, refusal.Said("", "")), ModelUnavailable)


def test_nothing_is_told_of_an_empty_part() -> None:
    assert Reading("it", False).feed(b'{"choices": [], "object": "x"}') == Piece()
