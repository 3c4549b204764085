"""The base classes of all messages, the facts that every request carries, and the numbers of the protocol.

It knows no single message; the files beside it hold them, a group each.
"""

from typing import TYPE_CHECKING, ClassVar

import msgspec

PROTOCOL = 1
"""Raised whenever an old client and a new hub could misunderstand each other."""
ID_BYTES = 16
MAX_BODY_BYTES = 256 * 2**20
"""The hub closes the connection of a client that sends a larger body, without reading it."""
WINDOW = 64
"""Deltas that a client may have unread. It acknowledges every WINDOW // 2; the hub joins later ones meanwhile."""
HEARTBEAT_S = 1.0
"""The hub sends `Progress` this often for each request in flight, so each side notices when the other is gone."""


class Message(msgspec.Struct, tag_field="type", omit_defaults=True, kw_only=True):
    """The root of all messages: a msgpack map whose `type` is the message's tag. Unknown fields are ignored."""


class Request(Message):
    """What a client sends. The class variables are facts about the type that the hub acts on; they are not sent.

    `protocol` lets a hub of another version refuse by name. A struct inherits fields from one base only, and Generate
    takes them from Sampling, so the field itself stands in Plain and in Generate.
    """

    if TYPE_CHECKING:
        protocol: int = 0

    is_work: ClassVar[bool] = False
    """Counts as a request in flight: a restart or upgrade waits for it, and a hub that stops finishes it."""
    delays_background: ClassVar[bool] = False
    """Somebody waits for a model's answer: the hub's own work starts when no such request is under way."""
    any_protocol: ClassVar[bool] = False
    """Understood from a client of any protocol number, so that an old hub can be asked and stopped."""
    ends_background: ClassVar[bool] = False
    """Needs a model that serves nobody: the hub cancels its own background work first."""

    @property
    def subject(self) -> str | None:
        """The model that the request concerns, for logs and messages."""
        return None


class Plain(Request):
    """A request with no fields but its own."""

    protocol: int = 0


class Result(Message):
    """What a request was for; a `Done` carries it."""


class Reply(Message):
    """What the hub sends."""
