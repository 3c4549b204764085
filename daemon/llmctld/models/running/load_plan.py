"""Who is loaded next, and who makes room for it: a pure decision over what is loaded, who waits, and how much memory there is.

Requests wait in groups, by model, and a model that is loaded serves all who ask for it: so A B A A C A B C loads three
times. Nobody is put out while it serves, until somebody has waited for `max_wait`: then it takes no more.
It knows names and numbers, and starts and ends nothing; a simulation of it stands in the tests.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple


class MemorySize(NamedTuple):
    """Bytes in host memory and on GPUs."""

    host: int = 0
    gpu: int = 0

    def plus(self, other: "MemorySize") -> "MemorySize":
        return MemorySize(self.host + other.host, self.gpu + other.gpu)

    def minus(self, other: "MemorySize") -> "MemorySize":
        return MemorySize(self.host - other.host, self.gpu - other.gpu)

    def fits(self, other: "MemorySize") -> bool:
        """Whether `other` has room in this. What needs none of a kind of memory asks nothing of it."""
        return all(need <= max(have, 0) for need, have in zip(other, self, strict=True))

    @property
    def any(self) -> bool:
        return self.host > 0 or self.gpu > 0

    def positive(self) -> "MemorySize":
        return MemorySize(max(self.host, 0), max(self.gpu, 0))

    def at_most(self, other: "MemorySize") -> "MemorySize":
        return MemorySize(min(self.host, other.host), min(self.gpu, other.gpu))


class Resident(NamedTuple):
    """A process that holds memory. `key` is the process, `name` its model; `leases`: requests that use it. Times are in
    seconds of one clock.
    """

    key: Hashable
    name: str
    room: MemorySize
    leases: int = 0
    pinned: bool = False
    loading: bool = False
    leaving: bool = False
    """It ends as soon as it serves nobody, and takes no one any more."""
    used: float = 0.0
    """When a request last used it."""
    load_s: float = 1.0
    """What it would cost to load it again."""
    waiting: int = 0
    """Requests that wait for its model: a load that nobody waits for any more is given up where its room is needed."""


class Group(NamedTuple):
    """All who wait for one model, which is not loaded; `since`: when the first of them came."""

    name: str
    room: MemorySize
    since: float


class LoadPlan(NamedTuple):
    """What can be loaded now, and what is to end: at once where it serves nobody, else when it has served."""

    load: list[str]
    evict: list[Hashable]


def value(resident: Resident, now: float) -> float:
    """Seconds of loading that are lost, probably, per byte that is won: the longer unused, the less likely."""
    likely = (1 + resident.waiting) / (1 + max(0.0, now - resident.used))
    return likely * resident.load_s / max(1, resident.room.host + resident.room.gpu)


def decide(
    now: float, limit: MemorySize, residents: Sequence[Resident], groups: Iterable[Group], max_wait: float
) -> LoadPlan:
    """The oldest group first. What it waits for is not given to a younger one; the rest of the room is."""
    load: list[str] = []
    evict: list[Hashable] = []
    free = limit.minus(total(resident.room for resident in residents))
    coming = total(resident.room for resident in residents if resident.leaving)
    for group in sorted(groups, key=lambda group: group.since):
        stays = total(it.room for it in residents if it.pinned or it.name == group.name)
        need = group.room.at_most(limit.minus(stays).positive())  # what is too large is made smaller when it is loaded
        if free.fits(need):
            load.append(group.name)
            free = free.minus(need)
            continue
        late = now - group.since >= max_wait
        staying = [it for it in residents if it.key not in evict and it.name != group.name]
        victims = _victims(now, need.minus(free.positive().plus(coming)), staying, late)
        if victims is None:
            if late:
                break
            continue
        evict += [victim.key for victim in victims]
        claimed = need.at_most(free.positive())  # promised to this one, as is what is missing of what comes
        coming = coming.plus(total(victim.room for victim in victims)).minus(need.minus(claimed))
        free = free.minus(claimed)
    return LoadPlan(load, evict)


def _victims(now: float, missing: MemorySize, residents: Sequence[Resident], late: bool) -> list[Resident] | None:
    """Those that give what is missing and lose the least; None when they cannot. Who serves is spared while it can be."""
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
