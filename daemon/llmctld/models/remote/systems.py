"""Moves a system message of a later turn to the front of that turn's question, for templates that accept it only at
the start.

Earlier messages stay unchanged, so that the engine can reuse its prefix.
"""

from collections.abc import Sequence

import msgspec

from llmctld.engine.messages import ChatMessage


def folded(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The first message stays what it is; each system message behind it begins the next question.

    Where no question follows (a tool's result does), the text stands as a message of the user.
    """
    found: list[ChatMessage] = []
    held: list[str] = []
    for number, message in enumerate(messages):
        if message.role == "system" and number:
            held.append(message.content)
        elif message.role == "user" and held:
            found.append(msgspec.structs.replace(message, content="\n\n".join([*held, message.content])))
            held = []
        else:
            found.append(message)
    return [*found[:-1], ChatMessage("user", "\n\n".join(held)), *found[-1:]] if held else found


def is_later(messages: Sequence[ChatMessage]) -> bool:
    """Whether the last turn has a system message and is not the first."""
    return len(messages) > 2 and messages[-2].role == "system"


def has_later(messages: Sequence[ChatMessage]) -> bool:
    """Whether any turn but the first has a system message."""
    return any(message.role == "system" for message in messages[1:])
