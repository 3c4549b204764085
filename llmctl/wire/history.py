"""Messages about what was asked before: conversations and their turns."""

from llmctl.wire.message import Plain, Result


class Undo(Plain, kw_only=True, tag="undo"):
    """Takes back the last turn of a conversation. -> `undone`"""

    conversation: str | None = None
    """its name; null: this user's last one"""
    user: str = ""
    """whose it is"""
    look: bool = False
    """report only what would be taken back"""


class Undone(Result, kw_only=True, tag="undone", omit_defaults=False):
    """What was taken back."""

    prompt: str | None
    """the prompt that was taken back; null when no turn was left"""
    system: str | None = None
    """the system prompt that held for it, empty: none; null when no turn was left"""
