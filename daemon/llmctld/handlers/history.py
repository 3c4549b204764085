"""Requests about what was asked before: `chat`'s undo."""

from llmctl import wire
from llmctld.handlers.hub import Hub, Tell


async def undo(hub: Hub, request: wire.Undo, tell: Tell) -> wire.Undone:
    turn = await hub.history.undo(request.user, request.conversation, request.look)
    return wire.Undone(prompt=turn and (turn.whole or turn.prompt), system=turn and turn.system)
