"""An answer as the bytes of a level, and back. It does not know which levels there are, nor in what order they are asked."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import msgspec

from llmctld.cache.level import Found, Level, Stored
from llmctld.cache.levels.lane import Lane
from llmctld.watch import log

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Stored).decode


class Seen(NamedTuple):
    """What a level holds under a key: the answer, its bytes, and their end. Without an answer: the level has none."""

    answer: Stored | None = None
    found: Found = Found(b"", 0.0)


def look(lane: Lane[Any], key: str, lost: Callable[[str], None], counts: bool = True) -> Callable[[Level], Seen]:
    """What the lane's thread does for a lookup. A damaged value, or another program's, is none: it is removed, and `lost`."""

    def ask(level: Level) -> Seen:
        if lane.owes(key):
            return Seen()
        try:
            with lane.meter.lookup() if counts else nullcontext():
                found = level.get(key)
            return Seen() if found is None else Seen(decode(found.value), found)
        except (ValueError, TypeError, msgspec.DecodeError) as error:
            lane.meter.errors += 1
            log.warning("a stored answer is damaged and is removed", level=lane.name, key=key, error=str(error))
            level.delete([key])
            lost(key)
            return Seen()

    return ask
