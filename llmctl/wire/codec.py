"""How a message becomes bytes and back: msgpack, with an extension type for whole numbers beyond 64 bits.

It knows the two unions that a decoder needs, and nothing about frames or sockets.
"""

from functools import cache
from typing import Any, TypeVar

import msgspec

from llmctl.wire.budget import (
    ListBudgets,
    ReadLedger,
    RebuildLedger,
    RemoveBudget,
    SetBudget,
    ShowBudget,
    VerifyLedger,
)
from llmctl.wire.cache import AuditCache, ClearCache, GetCacheStats, ListCache, ShowCache, UndoHit, Warm
from llmctl.wire.daemon import Ack, Cancel, Status, Stop
from llmctl.wire.embed import Embed
from llmctl.wire.generate import Generate
from llmctl.wire.history import Undo
from llmctl.wire.message import Message
from llmctl.wire.models import (
    AddModel,
    DescribeFiles,
    EstimateModel,
    LoadModel,
    PinModel,
    Ps,
    PullModel,
    RemoveModel,
    SetModel,
    UnloadModel,
)
from llmctl.wire.replies import AnyReply

AnyRequest = (
    Generate
    | Embed
    | Cancel
    | Ack
    | Status
    | Ps
    | Stop
    | AddModel
    | PullModel
    | EstimateModel
    | DescribeFiles
    | RemoveModel
    | LoadModel
    | SetModel
    | PinModel
    | UnloadModel
    | GetCacheStats
    | ListCache
    | ShowCache
    | ClearCache
    | Warm
    | AuditCache
    | UndoHit
    | Undo
    | SetBudget
    | ShowBudget
    | ListBudgets
    | RemoveBudget
    | ReadLedger
    | VerifyLedger
    | RebuildLedger
)

WHOLE = 1
"""The msgpack extension type of a whole number beyond 64 bits: its decimal digits."""
BITS_64 = range(-(2**63), 2**64)

M = TypeVar("M", bound=Message)


class Whole(int):
    """A whole number beyond 64 bits."""


def with_whole(value: Any) -> Any:
    """A JSON value in the form that a message can carry."""
    if isinstance(value, dict):
        return {name: with_whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [with_whole(each) for each in value]
    return Whole(value) if isinstance(value, int) and value not in BITS_64 else value


def extended(value: Any) -> msgspec.msgpack.Ext:
    """For an encoder: a whole number beyond 64 bits as an extension type."""
    if not isinstance(value, Whole):
        raise TypeError(f"no message carries a {type(value).__name__}")
    return msgspec.msgpack.Ext(WHOLE, str(int(value)).encode())


def _whole(code: int, data: memoryview) -> int | msgspec.msgpack.Ext:
    return int(bytes(data)) if code == WHOLE else msgspec.msgpack.Ext(code, bytes(data))


_encoder = msgspec.msgpack.Encoder(enc_hook=extended)


@cache
def _requests() -> msgspec.msgpack.Decoder[AnyRequest]:
    """Built when it is first needed: a client never decodes requests, the hub never decodes replies."""
    return msgspec.msgpack.Decoder(AnyRequest)


@cache
def _replies() -> msgspec.msgpack.Decoder[AnyReply]:
    return msgspec.msgpack.Decoder(AnyReply, ext_hook=_whole)


def encode(message: Message) -> bytes:
    """The msgpack body of a message."""
    return _encoder.encode(message)


def decode_request(body: bytes) -> AnyRequest:
    """Raises msgspec.DecodeError (msgspec.ValidationError names the field) when the body is not a request."""
    return _requests().decode(body)


def decode_reply(body: bytes) -> AnyReply:
    """Raises msgspec.DecodeError when the body is not a reply."""
    return _replies().decode(body)


class _Head(msgspec.Struct):
    protocol: int = 0


def protocol_of(body: bytes) -> int | None:
    """The protocol number of any version's request, or None when the body is no msgpack map."""
    try:
        return msgspec.msgpack.decode(body, type=_Head).protocol
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
