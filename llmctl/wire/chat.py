"""The messages of a chat, in the usual form of chat interfaces.

It is data alone: the hub checks chats (`call/chat.py`), and a model's chat template decides what the model reads.
"""

import msgspec

ROLES = ("system", "user", "assistant", "tool")


class FunctionCall(msgspec.Struct):
    """A function that the assistant called."""

    name: str
    arguments: str
    """JSON, as the model wrote it"""


class ToolCall(msgspec.Struct):
    """A call of a tool, inside a message of the assistant."""

    id: str
    """which the tool's message repeats as `tool_call_id`"""
    function: FunctionCall
    type: str = "function"
    """`function`"""


class ChatMessage(msgspec.Struct, omit_defaults=True):
    """A message of a chat. Text is text: no part of it becomes a control token."""

    role: str
    """`system`, `user`, `assistant` or `tool`"""
    content: str
    """its text; may be empty beside `tool_calls`"""
    name: str | None = None
    """of who speaks, or of the tool; a model reads it where its chat template does"""
    reasoning: str | None = None
    """of the assistant: what it thought; most chat templates leave it out of earlier turns"""
    tool_calls: list[ToolCall] = []
    """of the assistant"""
    tool_call_id: str | None = None
    """of a tool's message: the call that it answers"""
