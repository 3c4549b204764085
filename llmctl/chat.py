"""Turns the messages of a program, dicts in the usual form, into wire.ChatMessage.

It checks their form; the hub checks whether the chat makes sense.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from llmctl.errors import Usage, nearest
from llmctl.wire import ChatMessage

HINT = 'A message is, say, {"role": "user", "content": "why?"}.'


def chat_of(messages: Iterable[Any]) -> list[ChatMessage]:
    """Raises Usage with the place of the first message that cannot be read."""
    if isinstance(messages, str | bytes | dict) or not isinstance(messages, Iterable):
        raise Usage(f"messages is a {type(messages).__name__}; it must be a list of messages", HINT)
    return [message_of(given, f"messages[{place}]") for place, given in enumerate(messages)]


def message_of(given: Any, place: str) -> ChatMessage:
    if isinstance(given, ChatMessage):
        return given
    if not isinstance(given, dict):
        raise Usage(f"{place} is a {type(given).__name__}; it must be a dict", HINT)
    fields = {key: value for key, value in given.items() if value is not None}  # other libraries fill in every field
    for key in fields:
        if key not in ChatMessage.__struct_fields__:
            raise Usage(f"{place} has an unknown key {key!r}", nearest(str(key), ChatMessage.__struct_fields__) or HINT)
    if fields.get("tool_calls"):
        fields.setdefault("content", "")
    if isinstance(fields.get("content"), list):
        fields["content"] = _text(fields["content"], place)
    try:
        return msgspec.convert(fields, ChatMessage)
    except msgspec.ValidationError as error:
        raise Usage(f"{place}: {error}", HINT) from error


def _text(parts: list[Any], place: str) -> str:
    """The text of a content in parts."""
    for number, part in enumerate(parts):
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise Usage(f"{place}.content[{number}] is not text; a message can contain only text", HINT)
    return "".join(part["text"] for part in parts)
