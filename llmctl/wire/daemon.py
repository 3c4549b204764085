"""Messages about the hub itself, and `hub.json`, in which a ready hub describes itself."""

from typing import ClassVar

import msgspec

from llmctl.wire.message import Plain, Result


class Cancel(Plain, kw_only=True, tag="cancel"):
    """Cancels the request whose id is in the frame. It is handled immediately and never queued.

    It has no reply of its own; the cancelled request ends with `cancelled`. An id that is not in flight is ignored.
    """

    any_protocol: ClassVar[bool] = True


class Ack(Plain, kw_only=True, tag="ack"):
    """Acknowledges deltas of the request whose id is in the frame. No reply."""

    any_protocol: ClassVar[bool] = True

    count: int
    """deltas read since the last `ack`"""


class Status(Plain, kw_only=True, tag="status"):
    """Asks for the state of the hub. -> `hub_status`"""

    any_protocol: ClassVar[bool] = True


class Stop(Plain, kw_only=True, tag="stop"):
    """Stops the hub: waits for running requests, cancels the rest, and ends. -> `stopped`, the last reply of the hub."""

    any_protocol: ClassVar[bool] = True

    timeout: float = 10.0
    """maximum number of seconds to wait for running requests"""


class HubStatus(Result, kw_only=True, tag="hub_status", omit_defaults=False):
    """The line of `daemon status --json`."""

    state: str
    """`running`"""
    pid: int
    """process id of the hub"""
    version: str
    """version of llmctl"""
    protocol: int
    """protocol number"""
    uptime_s: float
    """seconds since the start"""
    socket: str
    """path of the socket"""
    models: list[str]
    """names of the loaded models"""
    requests_in_flight: int
    """requests that are work (`generate`, `embed`, `warm`, `pull_model`) without a final reply"""


class Stopped(Result, kw_only=True, tag="stopped", omit_defaults=False):
    """The hub has stopped."""

    cancelled: list[str]
    """the requests that were cancelled because the timeout was over, by id and model"""


class Nothing(Result, kw_only=True, tag="nothing"):
    """Done, with no result."""


class HubInfo(msgspec.Struct, kw_only=True):
    """Description of a ready hub in `hub.json` (above); not a message."""

    pid: int
    """process id of the hub"""
    version: str
    """version of llmctl"""
    protocol: int
    """protocol number"""
    socket: str
    """path of the socket"""
    started: float = 0.0
    """seconds since 1970"""
    fingerprint: int = 0
    """hash of the configuration that the hub read; 0: unknown"""
