"""Messages about the hub itself, and `hub.json`, in which a ready hub describes itself."""

from typing import ClassVar

import msgspec

from llmctl.wire.message import Plain, Result


class Cancel(Plain, kw_only=True, tag="cancel"):
    """Cancels the request whose id the frame carries. It is handled at once, never queued behind work.

    It has no reply of its own: the request it names ends with `cancelled`. An id that is not in flight is ignored.
    """

    any_protocol: ClassVar[bool] = True


class Ack(Plain, kw_only=True, tag="ack"):
    """Acknowledges deltas of the request whose id the frame carries. No reply."""

    any_protocol: ClassVar[bool] = True

    count: int
    """deltas read since the last `ack`"""


class Status(Plain, kw_only=True, tag="status"):
    """-> `hub_status`. Understood from a client of any protocol."""

    any_protocol: ClassVar[bool] = True


class Stop(Plain, kw_only=True, tag="stop"):
    """Drain, cancel the rest, end. -> `stopped`, as the last reply of the hub. Understood from a client of any
    protocol."""

    any_protocol: ClassVar[bool] = True

    timeout: float = 10.0
    """seconds to drain, at most"""


class HubStatus(Result, kw_only=True, tag="hub_status", omit_defaults=False):
    """The line of `daemon status --json`."""

    state: str
    """`running`"""
    pid: int
    """of the hub"""
    version: str
    """of llmctl"""
    protocol: int
    """this text's number"""
    uptime_s: float
    """seconds"""
    socket: str
    """its path"""
    models: list[str]
    """names of loaded models"""
    requests_in_flight: int
    """requests that are work (`generate`, `embed`, `warm`, `pull_model`) without a final reply"""


class Stopped(Result, kw_only=True, tag="stopped", omit_defaults=False):
    """The hub has ended its work."""

    cancelled: list[str]
    """the requests that had not ended in time, by id and model"""


class Nothing(Result, kw_only=True, tag="nothing"):
    """Done, with no result."""


class HubInfo(msgspec.Struct, kw_only=True):
    """What a ready hub writes about itself into `hub.json` (above); no message."""

    pid: int
    """of the hub"""
    version: str
    """of llmctl"""
    protocol: int
    """this text's number"""
    socket: str
    """its path"""
    started: float = 0.0
    """seconds since 1970"""
    fingerprint: int = 0
    """of the configuration that it read; 0: unknown"""
