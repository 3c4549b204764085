"""A whole chat (`wire.Generate.messages`): its checks and its normal form.

It knows roles and their fields; the engine finds out what a model's chat template takes of them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llmctl.errors import Unsupported, Usage
from llmctl.wire import ROLES, ChatMessage, Generate

EXCLUDED = (
    "prompt", "stdin", "files", "params", "declared", "tokens", "system", "raw", "conversation", "continue_last",
)  # fmt: skip
"""Fields of the short form, which a chat replaces."""
ENDS = ("user", "tool")
"""Roles whose message the assistant answers."""
SPOKEN_BY = {"reasoning": "assistant", "tool_calls": "assistant", "tool_call_id": "tool"}
"""Field of a message -> the only role that may have it."""
ELSEWHERE = {
    "developer": "system",
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function": "tool",
}
"""Role in other interfaces -> its name here."""
EXAMPLE = 'A chat is, say, [{"role": "system", "content": "Be short."}, {"role": "user", "content": "why?"}].'


def check_chat(request: Generate) -> None:
    """Raises Usage for a chat that makes no sense, Unsupported for tools."""
    for name in ("tools", "tool_choice"):
        if getattr(request, name):
            raise Unsupported(f"{name} is given, but this version cannot pass tools to a model", "Omit it.")
    if request.messages is None:
        return
    for name in EXCLUDED:
        if getattr(request, name):
            raise Usage(f"messages and {name} exclude each other", "Put the whole chat into messages.")
    if not request.messages:
        raise Usage("messages is empty", EXAMPLE)
    calls: set[str] = set()
    for place, message in enumerate(request.messages):
        _check_message(message, f"messages[{place}]", calls)
        calls |= {call.id for call in message.tool_calls}
    if question_place(request.messages) is None:
        raise Usage("messages has no user message", EXAMPLE)
    if request.messages[-1].role not in ENDS:
        last = f"messages[{len(request.messages) - 1}], the last one, has the role {request.messages[-1].role}"
        raise Usage(f"{last}; it must be a user message or the result of a tool", EXAMPLE)


def _check_message(message: ChatMessage, place: str, calls: set[str]) -> None:
    """`calls`: ids of the tool calls before it."""
    if message.role not in ROLES:
        here = ELSEWHERE.get(message.role.lower())
        hint = f"Use the role {here} instead of {message.role!r}." if here else EXAMPLE
        raise Usage(f"{place}.role is {message.role!r}; it must be one of {', '.join(ROLES)}", hint)
    if message.role == "user" and not message.content.strip():
        raise Usage(f"{place}, a user message, is empty", EXAMPLE)
    for field, role in SPOKEN_BY.items():
        if getattr(message, field) and message.role != role:
            raise Usage(f"{place} has the role {message.role} and a {field}; only the role {role} has one", "Omit it.")
    if message.role == "tool" and message.tool_call_id not in calls:
        known = f"the calls before it are {', '.join(sorted(calls))}" if calls else "no message before it calls a tool"
        raise Usage(f"{place}.tool_call_id is {message.tool_call_id!r}; {known}", "Name the call that it answers.")


def normal(text: str) -> str:
    """The text without a byte order mark, and with Unix line ends; nothing else is changed."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def normal_chat(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages that the short form of the same words has, so that the keys of both are equal."""
    found = [msgspec.structs.replace(message, content=normal(message.content)) for message in messages]
    return [message for message in found if message.content or message.role != "system"]


def question_of(messages: Sequence[ChatMessage]) -> str | None:
    """The text of the last user message."""
    place = question_place(messages)
    return None if place is None else messages[place].content


def question_place(messages: Sequence[ChatMessage]) -> int | None:
    return max((place for place, message in enumerate(messages) if message.role == "user"), default=None)


def system_of(messages: Sequence[ChatMessage]) -> str:
    """The last system prompt; empty: none."""
    return next((message.content for message in reversed(messages) if message.role == "system"), "")


def texts_of(message: ChatMessage) -> Iterator[str]:
    """All texts in a message that a model may read."""
    yield message.content
    yield from filter(None, (message.name, message.reasoning, message.tool_call_id))
    for call in message.tool_calls:
        yield from (call.id, call.function.name, call.function.arguments)


def as_json(messages: Sequence[ChatMessage]) -> Any:
    """For the history."""
    return msgspec.json.encode(messages).decode()
