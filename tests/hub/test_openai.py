"""The OpenAI API: which fields are sent or refused, and how error bodies are parsed."""

import time
from email.utils import formatdate
from typing import Any

import pytest
from llmctld.engine.messages import Adapter, ChatMessage, Submit
from llmctld.models.remote import openai
from llmctld.models.remote.http import refusal
from llmctld.models.remote.http.breaker import AttemptFailed, ServerMessage

from llmctl.errors import InvalidRequest, ModelUnavailable

SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": True, "strict": True}}
SENT: dict[str, tuple[Any, dict[str, Any]]] = {
    "messages": ([ChatMessage("user", "why?")], {"messages": openai.messages_json([ChatMessage("user", "why?")])}),
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
    "think": ("off", {"reasoning_effort": "none"}),
}  # fmt: skip
"""Field of a Submit -> a value, and what an endpoint gets for it."""
REFUSED = {"adapters": (Adapter("a.gguf", 1.0),), "repro": True}
OURS = {"id", "user", "priority", "streams", "overflow"}
"""Who asks, and in which order they are served, is no endpoint's business; how an answer is told to the client neither."""


def ask(**fields: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"id": 1, "max_tokens": 9, "messages": [ChatMessage("user", "hi")]}
    return openai.request_of(Submit(**(plain | fields)), "m", takes_grammar=True).body


def test_every_request_field_is_sent_refused_or_local() -> None:
    assert set(Submit.__struct_fields__) == SENT.keys() | REFUSED.keys() | OURS


@pytest.mark.parametrize("name", SENT)
def test_each_supported_field_is_sent_under_its_api_name(name: str) -> None:
    value, expected = SENT[name]
    body = ask(**{name: value})
    assert {key: body[key] for key in expected} == expected
    assert not ({*expected} - {"messages", "max_tokens"}) & ask().keys(), "unset fields are not sent"


@pytest.mark.parametrize("name", REFUSED)
def test_fields_that_the_api_cannot_express_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        ask(**{name: REFUSED[name]})


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
def test_the_remaining_tokens_are_parsed_from_a_refusal(words: str, left: int | None) -> None:
    body = ask(max_tokens=2048)
    assert refusal.room(words) == left
    assert openai.lower_max_tokens(words, body) == (left is not None)
    assert body["max_tokens"] == (left or 2048)
    assert not openai.lower_max_tokens(words, body), "and there is no second time"


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
def test_error_bodies_in_each_form_are_parsed(body: bytes, words: str) -> None:
    assert refusal.read(body).words == words


def test_retry_after_is_parsed_as_seconds_and_as_a_date() -> None:
    assert [refusal.retry_after(text) for text in (None, "", "2", "1.5", "-3", "soon")] == [0, 0, 2, 1.5, 0, 0]
    assert refusal.retry_after(formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=30)
    assert refusal.retry_after(formatdate(time.time() - 60, usegmt=True)) == 0


@pytest.mark.parametrize(
    ("status", "again"), [(429, True), (500, True), (502, True), (503, True), (504, True), (501, False)]
)
def test_only_transient_statuses_are_retried(status: int, again: bool) -> None:
    found = refusal.error_of("it", status, ServerMessage("no", ""), 3.0)
    assert isinstance(found, AttemptFailed)
    assert (found.again, found.after, found.counts) == (again, 3.0 * again, status not in (429, 500))
    assert isinstance(refusal.error_of("it", 308, ServerMessage("", "")), ModelUnavailable)
