"""Encodes a stored answer as the bytes of a level, and decodes it."""

from collections.abc import Callable
from contextlib import nullcontext
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from llmctl.wire import WHOLE, Answer, CacheUse, Sampled, Timings, TokenUsage, Whole, extended
from llmctld.cache.level import OF_RECEIVER, About, CachedValue, LeftOut, Level, Stored
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.runtime.log import log


def _optional(field: Any) -> Any:
    """The default of a field, in the form that `defstruct` takes."""
    if field.default_factory is msgspec.NODEFAULT:
        return msgspec.field(default=field.default)
    return msgspec.field(default_factory=field.default_factory)


_FIELDS = [field for field in msgspec.structs.fields(Answer) if field.name not in OF_RECEIVER]
_NAMES = [field.name for field in _FIELDS]
_values = attrgetter(*_NAMES)
_Kept: Any = msgspec.defstruct(
    "_Kept",
    [(each.name, each.type) if each.required else (each.name, each.type, _optional(each)) for each in _FIELDS],
    kw_only=True, omit_defaults=True,
)  # fmt: skip
"""An answer without what belongs to its receiver, in a third of the bytes; made of the fields of Answer, whatever they are."""


class _Entry(msgspec.Struct, array_like=True):
    """A Stored, as it lies on a level."""

    answers: list[_Kept]
    created: float
    seconds: float
    about: About = About()
    left_out: LeftOut | None = None


_encode = msgspec.msgpack.Encoder(enc_hook=extended).encode


def encode(stored: Stored) -> bytes:
    kept = [_Kept(**dict(zip(_NAMES, _values(answer), strict=True))) for answer in stored.answers]
    return _encode(_Entry(kept, stored.created, stored.seconds, stored.about, stored.left_out))


def _answer(kept: Any) -> Answer:
    return Answer(id="", timings=Timings(), cache=CacheUse(), **dict(zip(_NAMES, _values(kept), strict=True)))


def _whole(code: int, data: memoryview) -> Any:
    if code != WHOLE:
        raise ValueError(f"the extension type {code} occurs in no stored answer")
    return Whole(bytes(data))


class _Before(msgspec.Struct, array_like=True):
    """The format of older versions, which listed the fields to keep."""

    model: str
    text: str
    reasoning: str | None
    finish_reason: str
    usage: TokenUsage
    created: float
    seconds: float
    logprobs: list[Sampled] | None = None
    more: "list[_Before]" = []
    about: About = About()
    left_out: LeftOut | None = None


_decode = msgspec.msgpack.Decoder(_Entry, ext_hook=_whole).decode
_decode_before = msgspec.msgpack.Decoder(_Before).decode


def decode(value: bytes) -> Stored:
    """Raises ValueError or msgspec.DecodeError for anything else."""
    try:
        entry = _decode(value)
    except msgspec.ValidationError:
        return _from_before(_decode_before(value))
    return Stored([_answer(kept) for kept in entry.answers], entry.created, entry.seconds, entry.about, entry.left_out)


def _from_before(before: _Before) -> Stored:
    answers = [
        Answer(
            id="", index=index, model=each.model, text=each.text, reasoning=each.reasoning,
            finish_reason=each.finish_reason, usage=each.usage, timings=Timings(), cache=CacheUse(), logprobs=each.logprobs,
        )
        for index, each in enumerate([before, *before.more])
    ]  # fmt: skip
    return Stored(answers, before.created, before.seconds, before.about, before.left_out)


class Seen(NamedTuple):
    """The result of a lookup in one level: answer, bytes and expiry; no answer: not found."""

    answer: Stored | None = None
    found: CachedValue = CachedValue(b"", 0.0)


def look(
    thread: LevelThread[Any], key: str, lost: Callable[[str], None], counts: bool = True
) -> Callable[[Level], Seen]:
    """A lookup for the level's thread. Removes a value that is damaged or not an answer, and reports the key to
    `lost`.
    """

    def ask(level: Level) -> Seen:
        if thread.has_pending_removal(key):
            return Seen()
        try:
            with thread.meter.lookup() if counts else nullcontext():
                found = level.get(key)
            return Seen() if found is None else Seen(decode(found.value), found)
        except (ValueError, TypeError, msgspec.DecodeError) as error:
            thread.meter.fail()
            log.warning("a stored answer is damaged and is removed", level=thread.name, key=key, error=str(error))
            level.delete([key])
            lost(key)
            return Seen()

    return ask
