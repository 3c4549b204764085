"""A message in the form that chat templates read, and access to each of its texts.

It knows the fields of a message, and no template.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from llmctl.wire import ChatMessage, FunctionCall, ToolCall
from llmctld.engine.errors import Refusal

TOOLS = [
    ChatMessage("user", "qx7question"),
    ChatMessage(
        "assistant", "", tool_calls=[ToolCall("qx7call01", FunctionCall("qx7function", '{"qx7key": "qx7value"}'))]
    ),
    ChatMessage("tool", "qx7result", "qx7function", tool_call_id="qx7call01"),
]
"""A chat with a tool call, in words that no template contains: rendering it shows whether a template writes tool calls. The id
has the nine letters and digits that Mistral's templates require."""
SHOWN = ("qx7function", "qx7key", "qx7value", "qx7result")


def plain(message: ChatMessage, parsed: bool = True) -> dict[str, Any]:
    """As transformers has it: reasoning under both of its names, the arguments of a call `parsed`, or as JSON text."""
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        found["name"] = message.name
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if message.reasoning is not None:
        found["reasoning_content"] = message.reasoning
        if not (message.tool_calls and message.content):  # gpt-oss's template refuses both there
            found["thinking"] = message.reasoning
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "type": call.type, "function": _function(call, parsed)} for call in message.tool_calls
        ]
    return found


def _function(call: ToolCall, parsed: bool) -> dict[str, Any]:
    read = arguments(call)
    as_text = read if isinstance(read, str) else msgspec.json.encode(read).decode()
    return {"name": call.function.name, "arguments": read if parsed else as_text}


def arguments(call: ToolCall) -> Any:
    """Parsed, where they are JSON; else as they were written."""
    try:
        return msgspec.json.decode(call.function.arguments)
    except msgspec.DecodeError:
        return call.function.arguments


def texts(message: ChatMessage) -> Iterator[str]:
    """Each text of a message that a template may write."""
    yield message.content
    yield from filter(None, (message.name, message.reasoning, message.tool_call_id))
    for call in message.tool_calls:
        yield from (call.id, call.function.name)
        yield from _strings(arguments(call))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def rewritten(message: ChatMessage, change: Callable[[str], str]) -> ChatMessage:
    """The message with `change` applied to each of its texts; the structure of a call's arguments stays."""
    calls = [
        ToolCall(
            change(call.id), FunctionCall(change(call.function.name), _written(arguments(call), change)), call.type
        )
        for call in message.tool_calls
    ]
    name, reasoning, answers = (
        None if text is None else change(text) for text in (message.name, message.reasoning, message.tool_call_id)
    )
    return ChatMessage(message.role, change(message.content), name, reasoning, calls, answers)


def _written(value: Any, change: Callable[[str], str]) -> str:
    return change(value) if isinstance(value, str) else msgspec.json.encode(_changed(value, change)).decode()


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): _changed(each, change) for name, each in value.items()}
    return [_changed(each, change) for each in value] if isinstance(value, list) else value


def uses_tools(messages: list[ChatMessage]) -> bool:
    return any(message.tool_calls or message.role == "tool" for message in messages)


def refused_tools(what: str) -> Refusal:
    """The error for a chat with tool calls; `what` says why the model would not see them."""
    message = f"the chat contains tool calls, but {what}: the model would not see them"
    return Refusal("invalid_request", message, "Use a model whose chat template writes tool calls, or omit them.")


def whole(messages: list[ChatMessage]) -> str:
    """The contents, joined, for a model without a template. Raises Refusal if that would drop a tool call."""
    if uses_tools(messages):
        raise refused_tools("there is no chat template to write them")
    return "\n\n".join(message.content for message in messages)
