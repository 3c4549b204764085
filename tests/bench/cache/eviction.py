"""Seconds of computation that each policy of eviction saves, on seeded traces, through the code of `cache replay`.

Requests are independent draws with Zipf's popularity, 30,000 of 10,000 keys, and the cache holds 1 % of all bytes. Costs and
sizes are unequal: in the traces with a target a computation takes from a twentieth of a second to three minutes, whatever
its size; in the others it is what the tokens of prompt and answer take on three models, 4, 20 and 80 tokens a second, where
long answers are dear and large. `best possible` is what one gains who knows each key's popularity and keeps the best ones.
"""

import random
import statistics
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

from llmctld.cache.eviction import POLICIES, Item
from llmctld.cache.eviction.weighted import Weighted
from llmctld.replay.trace import TraceRequest, play

from tests.bench.measure import Number

KEYS, REQUESTS, ROOM = 10_000, 30_000, 0.01
SKEWS, SEEDS = (0.7, 1.0, 1.2), (1, 2, 3)
BLIND = ("lru", "sieve", "s3fifo", "wtinylfu")
GAIN = 10.0

Draw = Callable[[random.Random], tuple[int, float]]


def unrelated(draw: random.Random) -> tuple[int, float]:
    """Bytes and seconds."""
    return int(200 + draw.lognormvariate(6.2, 1.0)), draw.lognormvariate(1.0, 2.0)


def by_tokens(draw: random.Random) -> tuple[int, float]:
    answer = min(4000, int(draw.lognormvariate(4.6, 1.0))) + 1
    prompt = min(8000, int(draw.lognormvariate(4.6, 1.5))) + 1
    speed = draw.choice((4, 20, 80))
    return 200 + int(4.5 * answer), answer / speed + prompt / (10 * speed)


def trace(skew: float, seed: int, draw: Draw, requests: int = REQUESTS, keys: int = KEYS) -> list[TraceRequest]:
    """`requests` draws; the key of rank r is asked for in proportion to r ** -skew."""
    source = random.Random(seed)
    known = [TraceRequest(f"{key}", *draw(source)) for key in range(keys)]
    weights = list(accumulate((rank + 1) ** -skew for rank in range(keys)))
    return [known[min(bisect(weights, source.random() * weights[-1]), keys - 1)] for _ in range(requests)]


def room(requests: Sequence[TraceRequest]) -> int:
    """Bytes: that share of all different requests."""
    return int(ROOM * sum({request.key: request.size for request in requests}.values()))


def saved(requests: Sequence[TraceRequest], policy: str) -> float:
    """The share of all seconds that were not computed again."""
    return 1 - play(requests, policy, room(requests)).recomputed_s / sum(request.seconds for request in requests)


def possible(requests: Sequence[TraceRequest]) -> float:
    """The same for who keeps what is worth most from the start: no policy without knowledge of the future does better."""
    counts, limit, kept = Counter(request.key for request in requests), room(requests), 0.0
    known = {request.key: request for request in requests}.values()
    for request in sorted(known, key=lambda one: -(counts[one.key] - 1) * one.seconds / one.size):
        limit -= request.size
        if limit < 0:
            break
        kept += (counts[request.key] - 1) * request.seconds
    return kept / sum(request.seconds for request in requests)


def compared(skew: float, draw: Draw) -> tuple[float, str]:
    """How much more gdsf saves than the best policy that does not know costs, in percent, and all figures."""
    traces = [trace(skew, seed, draw) for seed in SEEDS]
    found = {policy: statistics.mean(saved(one, policy) for one in traces) for policy in POLICIES}
    best = max(found[policy] for policy in BLIND)
    told = ", ".join(f"{policy} {100 * share:.1f} %" for policy, share in found.items())
    bound = 100 * (statistics.mean(map(possible, traces)) / best - 1)
    return 100 * (found["gdsf"] / best - 1), f"{told}; best possible +{bound:.0f} %"


def victim_us(entries: int = 100_000, victims: int = 200) -> float:
    """Of the weighted priority, which looks at a sample for each."""
    draw, policy = random.Random(6), Weighted()
    for number in range(entries):
        policy.add(f"{number}", Item(*unrelated(draw), draw.randrange(9), draw.random()))
    start = time.perf_counter()
    for _ in range(victims):
        policy.victim()
    return (time.perf_counter() - start) / victims * 1e6


def measure(data: Path | None) -> list[Number]:
    numbers = []
    for skew in SKEWS:
        gain, told = compared(skew, unrelated)
        numbers.append(Number(f"seconds saved by gdsf, Zipf {skew}", gain, "% more", GAIN, told, least=True))
    for skew in SKEWS:
        gain, told = compared(skew, by_tokens)
        numbers.append(Number(f"the same, costs by tokens, Zipf {skew}", gain, "% more", note=told))
    numbers.append(Number("weighted, a victim of 100,000", victim_us(), "us", 1000))
    return numbers
