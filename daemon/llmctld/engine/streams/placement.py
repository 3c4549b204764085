"""Where a new request runs, and from where it takes what is computed already: the choice that costs the fewest milliseconds.

It knows streams and saved states by what they have in common with the request; it refuses to know who is waiting.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from llmctld.engine.cost.pace import Pace
from llmctld.engine.streams.streams import Streams

SAVE_TOKENS = 32
"""A shorter end of a sequence is computed again sooner than it is kept in order."""
LASTING_TOKENS = 128
"""From here on it is worth a file."""
SAVE_MARGIN = 8
"""To save a state takes about a copy, and it may never be asked for: it must be worth several."""


@dataclass(frozen=True)
class Source:
    """The first `keep` tokens, out of a stream or a saved state (`entry`), for `cost_ms`; neither: computed anew."""

    keep: int = 0
    stream: int | None = None
    entry: int | None = None
    cost_ms: float = 0.0


@dataclass(frozen=True)
class Place:
    """The request runs in `target`; what that held is copied to `aside` before, if that is not None."""

    target: int
    source: Source
    aside: int | None = None


def choose(streams: Streams, prompt_tokens: int, sources: list[Source], pace: Pace) -> Place:
    """The cheapest of all places: computing what the source lacks, the copies, and what is lost by overwriting."""
    return min(_costed(streams, prompt_tokens, [Source(), *sources], pace), key=lambda pair: pair[0])[1]


def _costed(streams: Streams, prompt_tokens: int, sources: list[Source], pace: Pace) -> Iterator[tuple[float, Place]]:
    worths = sorted((worth(streams, stream, 0, pace), stream) for stream in streams.free)
    whole = {stream: price for price, stream in worths}
    for target in streams.targets():
        for source in sources:
            in_place = source.stream == target
            cost = pace.token_ms * (prompt_tokens - source.keep) + (0.0 if in_place else source.cost_ms)
            lost = worth(streams, target, source.keep, pace) if in_place else whole[target]
            saving, other = _aside(worths, lost, (target, source.stream), pace)
            yield cost + lost - saving, Place(target, source, other)


def aside(streams: Streams, stream: int, pace: Pace) -> int | None:
    """Where the content of a free stream should go before it is overwritten; None when it is not worth a copy."""
    worths = sorted((worth(streams, other, 0, pace), other) for other in streams.free)
    return _aside(worths, worth(streams, stream, 0, pace), (stream,), pace)[1]


def _aside(
    worths: list[tuple[float, int]], lost: float, taken: tuple[int | None, ...], pace: Pace
) -> tuple[float, int | None]:
    """The milliseconds that moving it to the least worthy other stream saves, and which that is."""
    for price, other in worths:
        if other not in taken:
            saving = lost - pace.copy_ms - price
            return (saving, other) if saving > 0 else (0.0, None)
    return 0.0, None


def worth(streams: Streams, stream: int, keep: int, pace: Pace) -> float:
    """Milliseconds that are thrown away, probably, by cutting a free stream down to `keep` tokens.

    What nobody else holds would have to be computed again; the longer nobody asked for it, the less likely.
    """
    return pace.token_ms * streams.sole(stream, keep) / (1 + streams.age(stream) / streams.count)


def worth_keeping(tokens: int, pace: Pace) -> bool:
    """Whether to save a state costs little beside computing so many tokens again."""
    return tokens >= SAVE_TOKENS and tokens * pace.token_ms > SAVE_MARGIN * pace.copy_ms
