"""Chooses the stream of a new request and the source of its prefix: the choice with the lowest cost in milliseconds.

It knows how many tokens streams and saved states share with the request, not which requests wait.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from llmctld.engine.cost.pace import Pace
from llmctld.engine.streams.streams import Streams

SAVE_TOKENS = 32
"""A shorter part is recomputed rather than saved."""
LASTING_TOKENS = 128
"""From this length on, a saved state is worth a file."""
SAVE_MARGIN = 8
"""A state is saved only if that would save several times the cost of a copy, since it may never be used."""


@dataclass(frozen=True)
class Source:
    """The first `keep` tokens from a stream or a saved state (`entry`), for `cost_ms`. With neither, everything is computed."""

    keep: int = 0
    stream: int | None = None
    entry: int | None = None
    cost_ms: float = 0.0


@dataclass(frozen=True)
class Placement:
    """The request runs in `target`. If `copy_target` is set, the content of `target` is copied to that stream first."""

    target: int
    source: Source
    copy_target: int | None = None


def choose(streams: Streams, prompt_tokens: int, sources: list[Source], pace: Pace) -> Placement:
    """The cheapest place: computing what the source lacks, plus copies, plus the value of what is overwritten."""
    return min(_costed(streams, prompt_tokens, [Source(), *sources], pace), key=lambda pair: pair[0])[1]


def _costed(
    streams: Streams, prompt_tokens: int, sources: list[Source], pace: Pace
) -> Iterator[tuple[float, Placement]]:
    worths = sorted((worth(streams, stream, 0, pace), stream) for stream in streams.free)
    whole = {stream: price for price, stream in worths}
    for target in streams.targets():
        for source in sources:
            in_place = source.stream == target
            cost = pace.token_ms * (prompt_tokens - source.keep) + (0.0 if in_place else source.cost_ms)
            lost = worth(streams, target, source.keep, pace) if in_place else whole[target]
            saving, other = _aside(worths, lost, (target, source.stream), pace)
            yield cost + lost - saving, Placement(target, source, other)


def copy_target(streams: Streams, stream: int, pace: Pace) -> int | None:
    """The stream that takes the content of a free stream before it is overwritten; None if that is not worth a copy."""
    worths = sorted((worth(streams, other, 0, pace), other) for other in streams.free)
    return _aside(worths, worth(streams, stream, 0, pace), (stream,), pace)[1]


def _aside(
    worths: list[tuple[float, int]], lost: float, taken: tuple[int | None, ...], pace: Pace
) -> tuple[float, int | None]:
    """Milliseconds saved by moving the content to the least valuable other stream, and that stream."""
    for price, other in worths:
        if other not in taken:
            saving = lost - pace.copy_ms - price
            return (saving, other) if saving > 0 else (0.0, None)
    return 0.0, None


def worth(streams: Streams, stream: int, keep: int, pace: Pace) -> float:
    """Expected milliseconds lost by cutting a free stream to `keep` tokens.

    Only tokens that no other stream holds would be recomputed; the longer they are unused, the less likely that is.
    """
    return pace.token_ms * streams.unshared_tokens(stream, keep) / (1 + streams.age(stream) / streams.count)


def worth_keeping(tokens: int, pace: Pace) -> bool:
    """Whether saving a state is cheap compared with computing `tokens` again."""
    return tokens >= SAVE_TOKENS and tokens * pace.token_ms > SAVE_MARGIN * pace.copy_ms
