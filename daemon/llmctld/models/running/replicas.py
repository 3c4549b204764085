"""The replicas of one model: which ones take requests, which requests wait, and which replica a request gets.

Loads and evictions are decided over all models, in load_plan.py.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from llmctl.config import ModelEntry, ModelSettings
from llmctld.models.engines.handle import ModelHandle
from llmctld.models.running.load_plan import MemorySize
from llmctld.models.running.prefix_affinity import PrefixAffinity


@dataclass(eq=False)
class Replica:
    """One process of a model. `made_for`: identity and settings it was loaded with; `task`: the load."""

    number: int
    worker: ModelHandle
    made_for: tuple[str, ModelSettings]
    room: MemorySize
    task: "asyncio.Task[None]"
    begun: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)
    load_s: float = 0.0
    given_up: bool = False
    """The load was cancelled, since no request waits for it and its memory is needed."""
    loading: bool = True
    """True until the waiting requests have it, so that its memory is not given away before."""

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return not self.loading and not self.worker.retiring and not self.worker.ended.is_set()


@dataclass(eq=False)
class Waiter:
    """A request that waits for a worker (`leases`), or a command that wants one loaded. `since`: its arrival."""

    since: float
    leases: bool
    prompt: str
    worker: "asyncio.Future[ModelHandle]"


@dataclass(eq=False)
class ReplicaSet:
    """The replicas of one model, `wanted` of them, and what waits. `ends`: when it is unloaded if unused, by the clock of the
    event loop, which nobody can set.
    """

    entry: ModelEntry
    wanted: int = 1
    replicas: list[Replica] = field(default_factory=list)
    waiting: list[Waiter] = field(default_factory=list)
    ends: float | None = None
    timer: asyncio.TimerHandle | None = None
    affinity: PrefixAffinity[int] = field(default_factory=PrefixAffinity)

    @property
    def ready(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.ready]

    @property
    def leaving(self) -> bool:
        return any(replica.worker.retiring for replica in self.replicas)

    def start_timer(self, seconds: float, expire: "Callable[[ReplicaSet], None]") -> None:
        loop = asyncio.get_running_loop()
        self.ends = loop.time() + seconds
        self.timer = loop.call_at(self.ends, expire, self)

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.ends = None

    @property
    def left_s(self) -> float | None:
        """Seconds until it is unloaded if unused; None while no timer runs."""
        return None if self.ends is None else max(0.0, self.ends - asyncio.get_running_loop().time())

    def choose(self, prompt: str) -> ModelHandle:
        """The ready replica with the longest common prefix, unless it has half its slots more requests than another."""
        ready = self.ready
        if len(ready) == 1:
            return ready[0].worker
        workers = {replica.number: replica.worker for replica in ready}
        slots = min(worker.loaded.slots for worker in workers.values() if worker.loaded)
        busy = [(number, worker.leases) for number, worker in workers.items()]
        return workers[self.affinity.choose(prompt, busy, max(1, slots // 2))]
