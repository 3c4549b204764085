"""A system message that came with a later turn, where a template takes none there: it goes in front of that turn's question.

What was sent before stays as it was, so that the engine finds it again. Nothing here knows which templates those are.
"""

from collections.abc import Sequence

from llmctld.engine.messages import ChatMessage


def folded(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The first message stays what it is; each system message behind it is the beginning of the message that follows."""
    found: list[ChatMessage] = []
    held: list[str] = []
    for number, message in enumerate(messages):
        if message.role == "system" and number:
            held.append(message.content)
        else:
            found.append(ChatMessage(message.role, "\n\n".join([*held, message.content])))
            held = []
    return found


def is_later(messages: Sequence[ChatMessage]) -> bool:
    """Whether the last turn brought a system message with it, and is not the first."""
    return len(messages) > 2 and messages[-2].role == "system"
