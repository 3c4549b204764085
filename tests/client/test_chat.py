"""Messages as programs give them, and the errors for invalid ones."""

from typing import Any

import pytest

from llmctl.chat import chat_of
from llmctl.errors import Usage
from llmctl.wire import ChatMessage, FunctionCall, ToolCall


def test_dicts_in_the_openai_form_become_messages() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    given: list[Any] = [
        {"role": "system", "content": "s"},
        ChatMessage("user", "one"),
        {"role": "user", "name": "ana", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "refusal": None, "reasoning": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "5", "tool_call_id": "c1"},
    ]
    assert chat_of(given) == [
        ChatMessage("system", "s"),
        ChatMessage("user", "one"),
        ChatMessage("user", "ab", "ana"),
        ChatMessage("assistant", "", None, "hm", [ToolCall("c1", FunctionCall("f", '{"a": 1}'))]),
        ChatMessage("tool", "5", tool_call_id="c1"),
    ]


IMAGE = {"type": "image_url", "image_url": {"url": "http://h/a.png"}}


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("hi", "messages is a str; it must be a list"),
        ({"role": "user"}, "messages is a dict"),
        (["hi"], r"messages\[0\] is a str; it must be a dict"),
        ([{"role": "user", "content": "a"}, {"role": "user"}], r"messages\[1\].*content"),
        ([{"content": "a"}], r"messages\[0\].*role"),
        ([{"role": "user", "content": 5}], r"messages\[0\].*`str`.*content"),
        ([{"role": "user", "content": "a", "mood": "x"}], r"messages\[0\] has an unknown key 'mood'"),
        ([{"role": "user", "content": [IMAGE]}], r"messages\[0\].content\[0\] is not text"),
        ([{"role": "assistant", "content": "", "tool_calls": [{"id": "c"}]}], r"messages\[0\].*function.*tool_calls"),
    ],
)  # fmt: skip
def test_invalid_messages_are_refused_with_their_place(messages: Any, words: str) -> None:
    with pytest.raises(Usage, match=words) as raised:
        chat_of(messages)
    assert raised.value.hint
