"""An endpoint's answer in every response format: its text, or the failure that it reports."""

import json
from typing import Any

import pytest
from llmctld.models.remote.answer_reader import FAILED, AnswerPart, AnswerReader, EmptyAnswer
from llmctld.models.remote.http.breaker import AttemptFailed
from llmctld.models.remote.http.sse import Event

from llmctl.errors import ContextOverflow, EngineFailed, InvalidRequest, LlmctlError


def read(*events: object, raw: bool = False) -> tuple[str, str, AnswerReader]:
    reading = AnswerReader("it", raw)
    pieces = [
        reading.feed(Event(event if isinstance(event, bytes) else json.dumps(event).encode())) for event in events
    ]
    pieces.append(reading.end())
    return "".join(piece.text for piece in pieces), "".join(piece.reasoning for piece in pieces), reading


def part(text: Any = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
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
        ([part("a"), b"null", {"choices": None}, {"choices": [None]}, {}, part(None), part("b", "stop")], "ab", ""),
        ([{"choices": [{"delta": None}]}, part("a", "stop"), {"choices": [], "usage": None}], "a", ""),
        ([part([{"type": "text", "text": "a"}, {"type": "reference", "reference_ids": [1]}, "b"], "stop")], "ab", ""),
        ([part([{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}]), part("a", "stop")], "a", "h"),
        ([part([{"type": "thinking", "thinking": "h", "closed": True}, {"text": "a"}], "stop")], "a", "h"),
        ([part({"type": "output_text", "text": {"value": "a"}}, "stop")], "a", ""),
        (
            [part(None, reasoning_details=[{"type": "reasoning.text", "text": "h"}, {"data": "x"}]), part("a", "stop")],
            "a",
            "h",
        ),
        ([part(None, reasoning="h", reasoning_content="h"), part("a", "stop")], "a", "h"),
        ([part("a"), {"choices": [{"index": 1, "delta": {"content": "other"}}]}, part("b", "stop")], "ab", ""),
        ([{"choices": [{"index": "0", "delta": {"content": "a"}, "finish_reason": {"type": "stop"}}]}], "a", ""),
        ([part("a", ""), part("b", "null"), part("c", "EOS")], "abc", ""),
        ([[part("a"), part("b", "stop")]], "ab", ""),
        ([b'{"choices":[{"delta":{"content":"a\tb"},"finish_reason":"stop","logprobs":NaN}]}'], "a\tb", ""),
        ([b'{"choices":[{"delta":{"content":"a\xff"},"finish_reason":"stop"}]}'], "a\ufffd", ""),
        ([part("a\ud83c"), part("\udf89b", "stop")], "a\U0001f389b", ""),
        ([part("a\ud83c"), part("b\udf89"), part("c\ud83c", "stop")], "a\ufffdb\ufffdc\ufffd", ""),
        ([part(None, reasoning="h\ud83c"), part(None, reasoning="\udf89"), part("a", "stop")], "a", "h\U0001f389"),
        ([part("a"), b'"[DONE]"'], "a", ""),
        ([part("a"), b"[done] "], "a", ""),
    ],
)
def test_answer_is_read_in_every_response_format(events: list[Any], text: str, thought: str) -> None:
    assert read(*events)[:2] == (text, thought)


def test_raw_text_is_unchanged() -> None:
    assert read(part("<think>a", "stop"), raw=True)[:2] == ("<think>a", "")


def test_last_usage_of_any_event_counts() -> None:
    late = {"prompt_tokens": 4, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    first = part("a") | {"usage": {"prompt_tokens": 4, "completion_tokens": 1, "prompt_tokens_details": None}}
    *_, reading = read(first, part("b", "stop"), {"choices": [], "usage": late}, b"[DONE]")
    assert (reading.prompt_tokens, reading.cached_tokens, reading.completion_tokens) == (4, 3, 2)
    *_, reading = read(part("a"), part("b"), b"[DONE]")
    assert (reading.prompt_tokens, reading.completion_tokens) == (0, 2)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": "4", "completion_tokens": "2", "prompt_tokens_details": {"cached_tokens": "3"}}, (4, 3, 2)),
        ({"input_tokens": 4.0, "output_tokens": 2, "prompt_cache_hit_tokens": 3}, (4, 3, 2)),
        ({"prompt_tokens": -4, "completion_tokens": "many", "prompt_tokens_details": 7}, (0, 0, 1)),
        ({"prompt_tokens": True, "completion_tokens": 10**400}, (0, 0, 1)),
        ([1], (0, 0, 1)),
    ],
)
def test_usage_is_read_in_every_format(usage: Any, counts: tuple[int, int, int]) -> None:
    *_, reading = read(part("a", "stop") | {"usage": usage})
    assert (reading.prompt_tokens, reading.cached_tokens, reading.completion_tokens) == counts
    *_, reading = read({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop", "usage": usage}]})
    assert (reading.prompt_tokens, reading.cached_tokens, reading.completion_tokens) == counts


def test_answer_without_finish_reason_is_truncated_and_without_content_is_empty() -> None:
    for events in ([part("a")], [part("")], [part("a"), {"choices": [], "usage": {"completion_tokens": 1}}]):
        with pytest.raises(AttemptFailed, match="finish_reason") as cut:
            read(*events)
        assert not isinstance(cut.value, EmptyAnswer)
    for nothing in ([], [b"[DONE]"], [b"null", b"[DONE]"], [part("", role="assistant"), b"[DONE]"]):
        with pytest.raises(EmptyAnswer):
            read(*nothing)


@pytest.mark.parametrize("reason", sorted(FAILED | {"ERROR"}))
def test_a_finish_reason_that_means_failure_is_an_error(reason: str) -> None:
    for text in ("", "a"):
        with pytest.raises(AttemptFailed, match=f"finish_reason {reason.lower()}") as caught:
            read(part(text), part("", reason), b"[DONE]")
        assert caught.value.again
    with pytest.raises(AttemptFailed, match="out of memory"):  # the message may come in a later event
        read(part("", reason), {"error": {"message": "out of memory"}}, b"[DONE]")


def test_unusual_finish_reasons_give_a_notice() -> None:
    assert "filter" in (read(part("a", "content_filter"))[2].notice or "")
    assert "filter" in (read(part("a", "SAFETY"))[2].notice or "")
    assert "empty" in (read(part("", "stop"))[2].notice or "")
    assert read(part("a", "stop"))[2].notice is None
    assert read(part("a", "of its own"))[2].finish_reason == "of its own"


@pytest.mark.parametrize(
    "event", [b"{", b"7", b"\xff", b'{"choices": {}}', b'{"choices": [{"delta": 7}]}', b"[" * 100_000]
)
def test_an_invalid_event_is_an_error_without_retry(event: bytes) -> None:
    with pytest.raises(AttemptFailed) as caught:
        AnswerReader("it", False).feed(Event(event))
    assert not caught.value.again


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "no", "code": 400}, InvalidRequest),
        ({"message": "no", "code": "context_length_exceeded", "type": 1}, EngineFailed),
        ({"message": "n", "code": 400, "type": "exceed_context_size_error"}, ContextOverflow),
        ("overloaded", EngineFailed),
        ({"message": "no", "metadata": {"raw": "the true words"}}, EngineFailed),
    ],
)
def test_error_event_in_a_stream_has_the_same_error_type(error: Any, kind: type[LlmctlError]) -> None:
    with pytest.raises(AttemptFailed) as failed:
        AnswerReader("it", False).feed(Event(json.dumps({"error": error}).encode()))
    assert type(failed.value.error) is kind


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
def test_logprobs_are_read_in_every_format(logprobs: dict[str, Any], expected: Any) -> None:
    event = {"choices": [{"text": "a", "finish_reason": "stop", "logprobs": logprobs}]}
    scored = read(event)[2].logprobs
    assert [(each.token, each.logprob, each.top) for each in scored] == ([expected] if expected else [])


def test_empty_event_produces_no_text() -> None:
    assert AnswerReader("it", False).feed(Event(b'{"choices": [], "object": "x"}')) == AnswerPart()


@pytest.mark.parametrize(
    "event",
    [
        Event(b'{"object": "error", "message": "the words", "type": "X", "param": null, "code": 500}'),
        Event(b'{"error": {"message": "the words", "code": "500"}}'),
        Event(b'{"error": "the words"}'),
        Event(b'{"error": {"error": {"detail": "the words"}}, "choices": []}'),
        Event(b'{"error": true, "message": "the words"}'),
        Event(b'{"errors": [{"message": "the words"}]}'),
        Event(b'[{"error": {"message": "the words"}}]'),
        Event(b'{"message": "the words"}'),
        Event(b'{"detail": [{"loc": ["body", "x"], "msg": "the words"}]}'),
        Event(b'{"choices": null, "error_type": "X", "error_message": "the words"}'),
        Event(b'{"type": "error", "error": {"type": "overloaded_error", "message": "the words"}}'),
        Event(b'{"base_resp": {"status_code": 1004, "status_msg": "the words"}}'),
        Event(b'{"choices": [{"delta": {}, "error": {"code": 502, "message": "the words"}, "finish_reason": "error"}]}'),
        Event(b"the words", "error"),
        Event(b'"the words"', "error"),
        Event(b'{"message": "the words"}', "error"),
        Event(b'{"code": 503, "choices": [], "detail": {"error": "the words"}}', "error"),
    ],
)  # fmt: skip
def test_failure_event_is_an_error_in_every_format(event: Event) -> None:
    reading = AnswerReader("it", False, lambda words: words.replace("the", "their"))
    with pytest.raises(AttemptFailed, match="their words") as caught:
        reading.feed(event)
    assert caught.value.error.code == "engine_failed"


@pytest.mark.parametrize(
    "event", [b"", b" ", b"null", b"{}", b'{"type": "ping"}', b'{"error": null, "choices": [], "message": ""}']
)
def test_a_keep_alive_is_neither_text_nor_error(event: bytes) -> None:
    assert AnswerReader("it", False).feed(Event(event)) == AnswerPart()
    assert AnswerReader("it", False).feed(Event(b"plain words", "ping")) == AnswerPart()
