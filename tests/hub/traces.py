"""Traces of requests for models, played through the decisions of load_plan.py without processes or time; and the fewest loads
that any schedule needs, found by trying them all.

The simulation shares `decide` with the hub; how residency.py does what it says is told again here, and a test holds the two
together on real engines.
"""

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from llmctld.models.running.load_plan import Demand, LoadPlan, MemorySize, Resident, decide


class Request(NamedTuple):
    """`at`, `takes`: seconds; `takes` is how long it is generated, once it runs."""

    at: float
    model: str
    takes: float


class Played(NamedTuple):
    """What came of a trace: processes started, and how long each request waited before it ran, in seconds."""

    loads: int
    waits: list[float]


Decide = Callable[[float, MemorySize, Sequence[Resident], Iterable[Demand], float], LoadPlan]


def play(trace: Sequence[Request], room: int, max_wait: float, load_s: float = 1.0, decide: Decide = decide) -> Played:
    """Every model takes room 1 and runs whatever comes at once, as an engine with many slots does."""
    events: list[tuple[float, int, str, str]] = []  # (when, order, what, of which model)
    for order, request in enumerate(trace):
        heapq.heappush(events, (request.at, order, "asks", request.model))
    arrivals = dict(enumerate(trace))
    loaded: dict[str, dict[str, float]] = {}  # model -> leases, used, leaving
    loading: set[str] = set()
    waiting: dict[str, list[tuple[float, int]]] = {}
    waits: dict[int, float] = {}
    loads, serial = 0, len(trace)

    def push(when: float, what: str, model: str) -> None:
        nonlocal serial
        serial += 1
        heapq.heappush(events, (when, serial, what, model))

    def run(order: int, since: float, now: float) -> None:
        model = arrivals[order].model
        waits[order] = now - since
        loaded[model]["leases"] += 1
        push(now + arrivals[order].takes, "ends", model)

    def turn(now: float) -> None:
        nonlocal loads
        missing = {name: them for name, them in waiting.items() if them and name not in loaded and name not in loading}
        if not missing:
            return
        residents = [
            Resident(name, name, MemorySize(1), int(it["leases"]), leaving=bool(it["leaving"]), used=it["used"], load_s=load_s,
                     waiting=len(waiting.get(name, ())))
            for name, it in loaded.items()
        ] + [Resident(name, name, MemorySize(1), loading=True, waiting=1) for name in loading]  # fmt: skip
        demands = [Demand(name, MemorySize(1), min(since for since, _ in them)) for name, them in missing.items()]
        decision = decide(now, MemorySize(room), residents, demands, max_wait)
        for name in decision.load:
            loads += 1
            loading.add(name)
            push(now + load_s, "loaded", name)
        for key in decision.evict:
            loaded[str(key)]["leaving"] = 1.0
        gone = [str(key) for key in decision.evict if not loaded[str(key)]["leases"]]
        for name in gone:
            del loaded[name]
        for demand in demands:
            if demand.since + max_wait > now and demand.name not in decision.load:
                push(demand.since + max_wait, "turn", "")
        if gone or decision.load:
            turn(now)

    while events:
        now, order, what, model = heapq.heappop(events)
        if what == "asks" and model in loaded and not loaded[model]["leaving"]:
            run(order, now, now)
        elif what == "asks":
            waiting.setdefault(model, []).append((now, order))
        elif what == "loaded":
            loading.discard(model)
            loaded[model] = {"leases": 0.0, "used": now, "leaving": 0.0}
            for since, each in waiting.pop(model, []):
                run(each, since, now)
        elif what == "ends":
            loaded[model]["leases"] -= 1
            loaded[model]["used"] = now
            if loaded[model]["leaving"] and not loaded[model]["leases"]:
                del loaded[model]
        turn(now)
    return Played(loads, [waits[order] for order in range(len(trace))])


def fewest(trace: Sequence[Request], room: int, max_wait: float, load_s: float = 1.0) -> int:
    """The fewest loads of any schedule that idles no more than ours: it tries every order and every victim.

    Each who waits may be served next, and each model that serves nobody may go for it; who has waited for `max_wait`
    is served before others, whoever serves then. A schedule that knows who will come, and lets people wait for it, needs fewer.
    """
    script: list[int] = []
    least = len(trace) + 1
    while True:
        oracle = Oracle(script)
        least = min(least, play(trace, room, max_wait, load_s, oracle).loads)
        script = oracle.following()
        if not script:
            return least


class Oracle:
    """Decides as `script` says, then as comes first; it remembers how many ways there were."""

    def __init__(self, script: list[int]) -> None:
        self._script, self._ways = script, list[int]()

    def __call__(
        self, now: float, limit: MemorySize, residents: Sequence[Resident], demands: Iterable[Demand], max_wait: float
    ) -> LoadPlan:
        options = _options(now, limit, residents, list(demands), max_wait)
        at = len(self._ways)
        self._ways.append(len(options))
        return options[self._script[at] if at < len(self._script) else 0]

    def following(self) -> list[int]:
        """The next script in order, [] after the last."""
        script = [*self._script, *[0] * (len(self._ways) - len(self._script))]
        while script and script[-1] + 1 >= self._ways[len(script) - 1]:
            script.pop()
        return [*script[:-1], script[-1] + 1] if script else []


def _options(
    now: float, limit: MemorySize, residents: Sequence[Resident], demands: list[Demand], max_wait: float
) -> list[LoadPlan]:
    """All that can be done at one moment; every model takes room 1."""
    free = limit.host - len(residents)
    coming = sum(resident.leaving for resident in residents)
    late = [demand for demand in demands if now - demand.since >= max_wait]
    able = [it.key for it in residents if not (it.loading or it.leaving) and (late or not it.leases)]
    served = late[:1] or demands
    if free > 0:
        return [LoadPlan([demand.name], []) for demand in served]
    if coming >= len(late or demands) or not able:
        return [LoadPlan([], [])]
    return [LoadPlan([], [victim]) for victim in able]


def mixed(dice: random.Random, count: int, models: str, gap_s: float, takes_s: tuple[int, int]) -> list[Request]:
    """`count` requests for models at random, whole seconds apart."""
    at, found = 0, []
    for _ in range(count):
        at += int(dice.expovariate(1 / gap_s)) if gap_s else 0
        found.append(Request(float(at), dice.choice(models), float(dice.randint(*takes_s))))
    return found
