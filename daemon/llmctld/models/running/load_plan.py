"""Decides which models to load and which to unload: a pure function of what is loaded, what waits, and how much memory
there is.

Requests wait as one demand per model, and a loaded model serves its whole demand, so A B A A C A B C loads three times.
A model with requests is not unloaded until another demand has waited for `max_wait`; then it takes no new requests.
Knows names and numbers only; the tests simulate it.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple


class MemorySize(NamedTuple):
    """Bytes of host memory and of GPU memory."""

    host: int = 0
    gpu: int = 0

    def plus(self, other: "MemorySize") -> "MemorySize":
        return MemorySize(self.host + other.host, self.gpu + other.gpu)

    def minus(self, other: "MemorySize") -> "MemorySize":
        return MemorySize(self.host - other.host, self.gpu - other.gpu)

    def fits(self, other: "MemorySize") -> bool:
        """Whether `other` fits in this. A kind of memory that `other` does not need is not compared."""
        return all(need <= max(have, 0) for need, have in zip(other, self, strict=True))

    @property
    def any(self) -> bool:
        return self.host > 0 or self.gpu > 0

    def positive(self) -> "MemorySize":
        return MemorySize(max(self.host, 0), max(self.gpu, 0))

    def at_most(self, other: "MemorySize") -> "MemorySize":
        return MemorySize(min(self.host, other.host), min(self.gpu, other.gpu))


class Resident(NamedTuple):
    """A process that holds memory. `key`: the process; `name`: its model; `leases`: requests that use it. Times are
    seconds of one clock.
    """

    key: Hashable
    name: str
    room: MemorySize
    leases: int = 0
    pinned: bool = False
    loading: bool = False
    leaving: bool = False
    """The process takes no new requests and ends after its last one."""
    used: float = 0.0
    """Time of the last use by a request."""
    load_s: float = 1.0
    """Seconds that loading it took."""
    waiting: int = 0
    """Requests waiting for the model. A load that no request waits for is cancelled when its memory is needed."""


class Demand(NamedTuple):
    """Requests that wait for one model that is not loaded. `since`: arrival of the oldest."""

    name: str
    room: MemorySize
    since: float


class LoadPlan(NamedTuple):
    """Models to load now, and processes to end: idle ones at once, the others after their last request."""

    load: list[str]
    evict: list[Hashable]


def value(resident: Resident, now: float) -> float:
    """Expected seconds of reloading per byte freed: the longer unused, the less likely is another use."""
    likely = (1 + resident.waiting) / (1 + max(0.0, now - resident.used))
    return likely * resident.load_s / max(1, resident.room.host + resident.room.gpu)


def decide(
    now: float, limit: MemorySize, residents: Sequence[Resident], demands: Iterable[Demand], max_wait: float
) -> LoadPlan:
    """Serves the oldest demand first. Memory that it waits for is reserved for it, and younger demands may use the rest.
    A demand that has waited `max_wait`, and for which nothing can be unloaded, stops the younger ones: otherwise it would
    wait for ever."""
    load: list[str] = []
    evict: list[Hashable] = []
    free = limit.minus(total(resident.room for resident in residents))
    coming = total(resident.room for resident in residents if resident.leaving)
    for demand in sorted(demands, key=lambda demand: demand.since):
        stays = total(it.room for it in residents if it.pinned or it.name == demand.name)
        need = demand.room.at_most(limit.minus(stays).positive())  # a model that is too large is loaded with less
        if free.fits(need):
            load.append(demand.name)
            free = free.minus(need)
            continue
        late = now - demand.since >= max_wait
        staying = [it for it in residents if it.key not in evict and it.name != demand.name]
        victims = _victims(now, need.minus(free.positive().plus(coming)), staying, late)
        if victims is None:
            if late:
                break
            continue
        evict += [victim.key for victim in victims]
        claimed = need.at_most(free.positive())  # reserved for this demand, with its part of the memory to come
        coming = coming.plus(total(victim.room for victim in victims)).minus(need.minus(claimed))
        free = free.minus(claimed)
    return LoadPlan(load, evict)


def _victims(now: float, missing: MemorySize, residents: Sequence[Resident], late: bool) -> list[Resident] | None:
    """The processes to end: they free what is missing at the least loss. None if they cannot. Busy ones are ended only
    if `late`.
    """
    spared = (it.pinned or it.leaving or (it.loading and it.waiting) for it in residents)
    able = [it for it, is_spared in zip(residents, spared, strict=True) if not is_spared and (late or not it.leases)]
    found: list[Resident] = []
    for resident in sorted(able, key=lambda resident: (resident.leases > 0, value(resident, now))):
        if MemorySize().fits(missing):
            break
        if any(have and need > 0 for have, need in zip(resident.room, missing, strict=True)):
            found.append(resident)
            missing = missing.minus(resident.room)
    return found if MemorySize().fits(missing) else None


def total(rooms: Iterable[MemorySize]) -> MemorySize:
    sum_ = MemorySize()
    for room in rooms:
        sum_ = sum_.plus(room)
    return sum_
