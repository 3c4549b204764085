"""Messages about what was asked before: conversations and their turns."""

from llmctl.wire.message import Plain, Result


class Undo(Plain, kw_only=True, tag="undo"):
    """Removes the last turn of a conversation. -> `undone`"""

    conversation: str | None = None
    """name of the conversation; null: this user's last one"""
    user: str = ""
    """user of the conversation"""
    look: bool = False
    """only report what would be removed"""


class Undone(Result, kw_only=True, tag="undone", omit_defaults=False):
    """The removed turn."""

    prompt: str | None
    """the removed prompt; null if there was no turn left"""
    system: str | None = None
    """the system prompt of that turn, empty: none; null if there was no turn left"""
