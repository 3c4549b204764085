"""What prefetch gains and wastes: sessions in which B follows A in 80 % of the cases, and the same requests in any order.

The real loop with its file, on a clock that is put forward: answers end 30 minutes after they were computed, and each takes
a second. Nobody else is there, so whatever is wished for is computed before the next request.
"""

import asyncio
import random
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

from llmctld.cache.prefetch.prefetch import Answered, Computed, Prefetcher, open_prefetcher

from llmctl.config import Prefetch as Settings
from tests.bench.measure import Number

FOLLOWS = 0.8
GAP_S, LIFE_S, COST_S = 20.0, 1800.0, 1.0
SEEDS = 5


class Step(NamedTuple):
    at: float
    person: str
    key: str


class Kind(NamedTuple):
    """So many pairs (A, B) in so many sessions, `between` seconds apart, of so many people."""

    name: str
    pairs: int
    sessions: int
    between: float
    people: int = 1


KINDS = (
    Kind("20 pairs, 400 sessions an hour apart", 20, 400, 3600.0),
    Kind("3 pairs, 100 sessions an hour apart", 3, 100, 3600.0),
    Kind("one pair, 100 sessions an hour apart", 1, 100, 3600.0),
    Kind("10 pairs, 400 sessions 10 minutes apart", 10, 400, 600.0),
    Kind("5 people, 5 pairs, 400 sessions an hour apart", 5, 400, 3600.0, people=5),
)


class Outcome(NamedTuple):
    """Shares of the B's that were served, and of the seconds computed beforehand that were wasted."""

    served: float
    waste: float
    computed: int
    stopped: bool
    reason: str


def sessions(kind: Kind, seed: int) -> list[Step]:
    """A, then B or something else; every other session goes on with a third request."""
    chance, now, found = random.Random(seed), 1.7e9, []
    for _ in range(kind.sessions):
        number, person = chance.randrange(kind.pairs), f"p{chance.randrange(kind.people)}"
        second = f"B{number}" if chance.random() < FOLLOWS else f"C{chance.randrange(30)}"
        keys = [f"A{number}", second, *([f"C{chance.randrange(30)}"] if chance.random() < 0.5 else [])]
        found += [Step(now + GAP_S * step, person, key) for step, key in enumerate(keys)]
        now += kind.between
    return found


def shuffled(steps: list[Step], seed: int) -> list[Step]:
    """The same times, and the same requests at other ones."""
    asked = [(step.person, step.key) for step in steps]
    random.Random(seed).shuffle(asked)
    return [Step(step.at, *who) for step, who in zip(steps, asked, strict=True)]


async def play(steps: list[Step], folder: Path) -> Outcome:
    now, spent = steps[0].at, 0.0
    ends: dict[str, float] = {}

    async def compute(body: bytes) -> Computed | None:
        nonlocal spent
        spent += COST_S
        ends[body.decode()] = now + LIFE_S
        return Computed(body.decode(), now + LIFE_S)

    async def expires(key: str) -> float | None:
        return ends[key] if ends.get(key, 0.0) > now else None

    async def quiet() -> None:
        await asyncio.sleep(0)

    settings = Settings(enabled=True, budget_per_hour=1000)
    prefetch = await open_prefetcher(
        folder / "prefetch.db",
        lambda shelf: Prefetcher(
            settings, shelf, compute, expires, quiet, 30 * 86400.0, None, lambda: now, lambda: spent
        ),
    )
    served = asked = 0
    for step in steps:
        now = step.at
        hit = ends.get(step.key, 0.0) > now
        asked += step.key[0] == "B"
        served += hit and step.key[0] == "B"
        if not hit:
            ends[step.key] = now + LIFE_S
        person = step.person
        created = ends[step.key] - LIFE_S
        prefetch.add_request(
            Answered(
                person, person, step.key, now, created, True, step.key if hit else None, False, "m", [], step.key.encode
            )
        )
        while prefetch.is_busy:  # noqa: ASYNC110 - its file has a thread of its own
            await asyncio.sleep(0)
    now += 86400.0
    stats = prefetch.stats()
    await prefetch.close()
    total = stats.gain_s + stats.waste_s
    return Outcome(
        served / asked,
        stats.waste_s / total if total else 0.0,
        stats.prefetched,
        stats.state == "stopped",
        stats.reason or "",
    )


def outcomes(kind: Kind, mixed: bool) -> list[Outcome]:
    found = []
    for seed in range(SEEDS):
        steps = sessions(kind, seed)
        with tempfile.TemporaryDirectory() as folder:
            found.append(asyncio.run(play(shuffled(steps, seed) if mixed else steps, Path(folder))))
    return found


def measure(data: Path | None) -> list[Number]:
    numbers = []
    for kind in KINDS:
        each, mixed = outcomes(kind, False), outcomes(kind, True)
        served, waste = [it.served for it in each], [it.waste for it in each]
        numbers += [
            Number(
                f"prefetch, {kind.name}: B's from the cache", statistics.mean(served), "", 0.5,
                f"worst of {SEEDS}: {min(served):.2f}", True,
            ),
            Number("... waste, of the seconds computed beforehand", statistics.mean(waste), "", 0.25,
                   f"worst: {max(waste):.2f}"),
            Number("... shuffled: computed until it stops", max(it.computed for it in mixed), "", 50, "most"),
            Number("... shuffled: stopped, and says why",
                   statistics.mean(it.stopped and bool(it.reason) for it in mixed), "", 1.0, "share of the traces", True),
        ]  # fmt: skip
    return numbers
