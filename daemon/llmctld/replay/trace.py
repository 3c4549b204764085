"""Replays a trace of requests through each eviction policy: what a cache of a given size would have saved.

Reads a trace and simulates it; uses no clock, no level, no hub.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, NamedTuple

import msgspec

from llmctl.errors import InvalidRequest
from llmctl.written import fitted, object_of, unmarked
from llmctld.cache.entries.context import Reuse, groups_of
from llmctld.cache.eviction import POLICIES, Item

_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
MOST_LINES = 5_000_000
SIZE, SECONDS = 1024, 1.0
"""Values for a request whose line gives none."""


class TraceLine(msgspec.Struct):
    """A line of a trace. Requests with the same `key`, or else the same `prompt`, are equal. `at`: Unix time."""

    key: str | None = None
    prompt: str | None = None
    bytes: Annotated[int, msgspec.Meta(ge=0)] = SIZE
    seconds: _Amount = SECONDS
    cost: _Amount | None = None
    at: float | None = None
    user: str = ""
    conversation: str | None = None
    template: str | None = None


class TraceRequest(NamedTuple):
    """`size` in bytes; `seconds` and `cost` of computing the answer; `groups`: see entries/context.py."""

    key: str
    size: int
    seconds: float
    cost: float | None = None
    at: float | None = None
    groups: Sequence[str] = ()


class PolicyResult(NamedTuple):
    """A line of `cache replay --json`. `recomputed_cost` is None unless every request has a cost."""

    policy: str
    hits: int
    hit_rate: float
    recomputed_s: float
    recomputed_cost: float | None


def read(lines: Iterable[bytes], name: str) -> list[TraceRequest]:
    """The requests of a trace, by time if all have one, else in the order of lines.

    Raises InvalidRequest, with the line that cannot be read, and for an empty trace.
    """
    requests = list(_requests(lines, name))
    if not requests:
        raise InvalidRequest(f"{name} contains no request", f"Example of a line: {EXAMPLE}")
    if all(request.at is not None for request in requests):
        requests.sort(key=lambda request: request.at or 0.0)
    return requests


EXAMPLE = '{"key": "a", "bytes": 900, "seconds": 2.5}'


def _requests(lines: Iterable[bytes], name: str) -> Iterator[TraceRequest]:
    for number, raw in enumerate(unmarked(lines), 1):
        if not raw.strip():
            continue
        if number > MOST_LINES:  # a pipe may have no end, and all requests are kept
            raise InvalidRequest(f"{name} has more than {MOST_LINES} lines", "Replay a part of it.")
        try:
            line = fitted(object_of(raw, EXAMPLE), TraceLine)
        except InvalidRequest as error:
            raise InvalidRequest(f"{name}, line {number}: {error.message}", f"Example of a line: {EXAMPLE}") from error
        if line.key is None and line.prompt is None:
            raise InvalidRequest(f"{name}, line {number}: neither key nor prompt", f"Example of a line: {EXAMPLE}")
        key = line.key or hashlib.blake2b((line.prompt or "").encode(), digest_size=16).hexdigest()
        groups = groups_of(line.user, line.conversation, line.template)
        yield TraceRequest(key, line.bytes, line.seconds, line.cost, line.at, groups)


def play(requests: Sequence[TraceRequest], policy: str, limit: int) -> PolicyResult:
    """Runs `requests` through an empty cache of `limit` bytes.

    As in the hub, an entry's hit count outlives the entry, and the policy gets it again. Value is money if every
    request has a cost.
    """
    deciding = POLICIES[policy](limit)
    there: dict[str, int] = {}
    hits_of: dict[str, int] = {}
    reuse = Reuse()
    priced = all(request.cost is not None for request in requests)
    used = hits = 0
    lost_s = lost_cost = 0.0
    for request in requests:
        key, hit = request.key, request.key in there
        reuse.note(request.groups, hit)
        if hit:
            hits += 1
            hits_of[key] = hits_of.get(key, 0) + 1
            deciding.hit(key)
            continue
        lost_s += request.seconds
        lost_cost += request.cost or 0.0
        if request.size > limit:
            continue
        worth = (request.cost or 0.0) if priced else request.seconds
        deciding.add(key, Item(request.size, worth, hits_of.get(key, 0), reuse.importance(request.groups)))
        there[key] = request.size
        used += request.size
        while used > limit:
            victim = deciding.victim()
            if victim is None:
                break
            used -= there.pop(victim)
    rate = round(hits / len(requests), 4) if requests else 0.0
    return PolicyResult(policy, hits, rate, round(lost_s, 3), round(lost_cost, 9) if priced else None)
