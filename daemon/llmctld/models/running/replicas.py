"""The processes of one model: which of them take requests, who waits for one, and which one a request gets.

They are told when to begin and to end; that is decided over all models, elsewhere.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from llmctl.config import ModelEntry, ModelSettings
from llmctld.models.engines.worker import ModelHandle
from llmctld.models.running.load_plan import MemorySize
from llmctld.models.running.prefix_affinity import PrefixAffinity


@dataclass(eq=False)
class Replica:
    """One process of a model. `made_for`: the identity and settings that it is loaded with; `task`: its loading."""

    number: int
    worker: ModelHandle
    made_for: tuple[str, ModelSettings]
    room: MemorySize
    task: "asyncio.Task[None]"
    begun: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)
    load_s: float = 0.0
    given_up: bool = False
    """Its loading is ended, since nobody waits for it and somebody needs the room."""
    loading: bool = True
    """Until those who waited for it have it: before, nobody may take its memory for someone else."""

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return not self.loading and not self.worker.retiring and not self.worker.ended.is_set()


@dataclass(eq=False)
class Waiter:
    """A request that waits for a worker (`leases`), or somebody who wants one loaded. `since`: when it came."""

    since: float
    leases: bool
    prompt: str
    worker: "asyncio.Future[ModelHandle]"


@dataclass(eq=False)
class ReplicaSet:
    """The processes of one model, `wanted` of them, and who waits. `ends`: when it is unloaded if nobody asks for it, in
    seconds since 1970.
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
        self.ends = time.time() + seconds
        self.timer = asyncio.get_running_loop().call_later(seconds, expire, self)

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.ends = None

    def choose(self, prompt: str) -> ModelHandle:
        """Of the ready ones: with the longest common beginning, unless it has half its slots more to do than another."""
        ready = self.ready
        if len(ready) == 1:
            return ready[0].worker
        workers = {replica.number: replica.worker for replica in ready}
        slots = min(worker.loaded.slots for worker in workers.values() if worker.loaded)
        busy = [(number, worker.leases) for number, worker in workers.items()]
        return workers[self.affinity.choose(prompt, busy, max(1, slots // 2))]
