"""A user's request as prefetch keeps it: bytes from which the same request, with the same key, is made later.

It holds what the model saw. cache/prefetch/ decides when it is asked again.
"""

from typing import Any

import msgspec

from llmctl.wire import Generate
from llmctld.call.call import Call
from llmctld.call.reuse import repeatable
from llmctld.models.engines.ticket import ChatMessage

BODY_BYTES = 256 * 1024
"""A request with longer messages is not kept."""
IN_MESSAGES: dict[str, Any] = {
    "prompt": None, "messages": None, "stdin": None, "files": [], "params": {}, "declared": {}, "system": None,
    "conversation": None, "continue_last": False,
}  # fmt: skip
"""Fields that are dropped, since the messages contain them. A field named in `cache.scope` is part of the key and stays."""


class KeptRequest(msgspec.Struct, array_like=True):
    """The request, and the messages that the model saw."""

    request: Generate
    messages: list[ChatMessage]


_encode = msgspec.msgpack.Encoder().encode
from_bytes = msgspec.msgpack.Decoder(KeptRequest).decode


def is_small(call: Call) -> bool:
    """Whether the request is short enough to be kept."""
    return sum(len(message.content) for message in call.messages) < BODY_BYTES


def to_bytes(call: Call, scope: list[str]) -> bytes:
    """`scope`: the setting `cache.scope`."""
    changes = {name: value for name, value in IN_MESSAGES.items() if name not in scope}
    if "model" not in scope:
        changes["model"] = call.entry.name
    cache = "refresh" if repeatable(call.request) else "store"
    return _encode(KeptRequest(msgspec.structs.replace(call.request, cache=cache, **changes), call.messages))
