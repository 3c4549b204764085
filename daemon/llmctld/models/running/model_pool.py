"""Holds the engine processes and the requests that wait for one; starts and ends processes as load_plan.decide says.

Makes sure that every waiting request gets a worker or an error. Leases and keep-alive are residency.py's.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import msgspec

from llmctl.config import Config, ModelEntry, ModelSettings
from llmctl.errors import EngineFailed, LlmctlError, ModelUnavailable
from llmctld.models.catalogue import split
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.target import LLAMA, REMOTE
from llmctld.models.engines.handle import ModelHandle
from llmctld.models.engines.ladder import Descent, FileKind, Ladder
from llmctld.models.engines.worker import Worker
from llmctld.models.remote.model import Remotes
from llmctld.models.running import load_plan
from llmctld.models.running.load_plan import Demand, Resident
from llmctld.models.running.loading import load_of
from llmctld.models.running.memory_budget import MemoryBudget
from llmctld.models.running.replicas import Replica, ReplicaSet
from llmctld.runtime.log import log


class ModelPool:
    """`prefixes`: folder for computed prefixes. `rest`: called with each model that was loaded. Callers run `turn`
    after changes that the pool cannot see.
    """

    def __init__(
        self, catalog: Catalog, budget: MemoryBudget, log_folder: Path, prefixes: Path, config: Config, ladder: Ladder,
        rest: Callable[[ReplicaSet], None],
    ) -> None:  # fmt: skip
        self._catalog, self._log_folder, self._prefixes, self._config = catalog, log_folder, prefixes, config
        self._budget, self._remotes, self._ladder, self._rest = budget, Remotes(), ladder, rest
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self.models: dict[str, ReplicaSet] = {}
        self.closed = False
        self.loads = 0
        """Number of processes started."""

    def model(self, entry: ModelEntry) -> ReplicaSet:
        model = self.models.setdefault(entry.name, ReplicaSet(entry))
        model.entry = entry
        return model

    def replicas(self) -> Iterator[Replica]:
        for model in self.models.values():
            yield from model.replicas

    def residents(self) -> Iterator[Resident]:
        for model in self.models.values():
            pinned = bool(self._catalog.settings(model.entry).pin)
            for it in model.replicas:
                leaving = bool(it.worker.retiring)
                yield Resident(
                    it, model.entry.name, it.room, it.worker.leases, pinned, it.loading, leaving, it.used, it.load_s,
                    len(model.waiting),
                )  # fmt: skip

    def retire_outdated(self, model: ReplicaSet) -> None:
        """Retires replicas whose file or settings have changed."""
        self._catalog.identity(model.entry)  # raises if the file is gone; loaded replicas stay
        if not self.is_current(model):
            for replica in model.ready:
                self.end_when_idle(replica)

    def is_current(self, model: ReplicaSet) -> bool:
        """Whether all loaded replicas have the model's files and settings."""
        return all(self._is_current(model.entry, replica) for replica in model.ready)

    def _is_current(self, entry: ModelEntry, replica: Replica) -> bool:
        identity, settings = replica.made_for
        return settings == self._catalog.settings(entry).computing() and self._catalog.still(identity, entry)

    def _identity(self, entry: ModelEntry) -> tuple[str, ModelSettings]:
        return self._catalog.identity(entry), self._catalog.settings(entry).computing()

    def _made(self, entry: ModelEntry, number: int, memory_bytes: int) -> ModelHandle:
        """A worker that has not started to load. Raises ModelUnavailable."""
        folder = self._prefixes / (f"{entry.name}+{number}" if number else entry.name)
        load = load_of(entry, self._catalog, self._config, folder, memory_bytes)
        if entry.backend == REMOTE:
            return self._remotes.worker(load, self._catalog.settings(entry))
        descent = self._descent(entry) if entry.backend == LLAMA else None
        return Worker(load, self._log_folder, descent, float(self._config.resources.load_timeout))

    def check(self, entry: ModelEntry) -> None:
        """Raises ModelUnavailable if the model crashed on every rung and nothing has changed since."""
        if entry.backend == LLAMA:
            self._descent(entry)

    def _descent(self, entry: ModelEntry) -> Descent:
        """The rungs for this model. Raises ModelUnavailable if none is left."""
        settings = self._catalog.settings(entry)
        files = [entry.target, *([settings.draft] if settings.draft and settings.speculation != "off" else [])]
        kind = FileKind(*self._budget.kind([Path(file) for file in files]))
        parts = [part for file in files for part in split.parts(Path(file))]
        return self._ladder.descent(entry.name, self._stand(entry), kind, parts)

    def _stand(self, entry: ModelEntry) -> str:
        """The model's key in the ladder: it changes with files and settings."""
        identity, settings = self._identity(entry)
        return f"{identity} {msgspec.json.encode(settings, enc_hook=int).decode()}"

    def retry(self, entry: ModelEntry) -> None:
        """Forgets that the model crashed on every rung: a user asks to try again."""
        if entry.backend == LLAMA:
            self._ladder.retry(self._stand(entry))

    def rebalance(self) -> None:
        """Runs after any change: starts loads and evictions as load_plan.decide says."""
        missing = {
            name: model for name, model in self.models.items()
            if model.waiting and not model.leaving and len(model.replicas) < model.wanted
        }  # fmt: skip
        if not missing or self.closed:
            return
        now, max_wait = time.monotonic(), self._config.resources.max_wait
        demands = [
            Demand(name, self._budget.needs(model.entry), min(waiter.since for waiter in model.waiting))
            for name, model in missing.items()
        ]
        decision = load_plan.decide(now, self._budget.limit, list(self.residents()), demands, max_wait)
        for replica in [replica for replica in self.replicas() if replica in decision.evict]:
            log.info("a model is unloaded to make room", model=replica.worker.name, leases=replica.worker.leases)
            self.end_when_idle(replica)
        for name in decision.load:
            self._start(missing[name])
        self._set_alarm([demand.since + max_wait for demand in demands if demand.name not in decision.load])
        if decision.load:
            self.rebalance()  # again for models that want several replicas

    def _set_alarm(self, times: list[float]) -> None:
        """Wakes `turn` when the next demand has waited for `max_wait`."""
        if self._alarm is not None:
            self._alarm.cancel()
        later = [at for at in times if at > time.monotonic()]
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(min(later) - time.monotonic() + 0.001, self.rebalance) if later else None

    def _start(self, model: ReplicaSet) -> None:
        number = next(n for n in range(model.wanted) if n not in {replica.number for replica in model.replicas})
        try:
            left = self._budget.left(model.entry, list(self.residents()))
            made_for, worker = self._identity(model.entry), self._made(model.entry, number, left.host)
        except LlmctlError as error:
            self._fail(model, error)
            return
        room = self._budget.needs(model.entry).at_most(left)
        replica = Replica(number, worker, made_for, room, asyncio.create_task(worker.start()))
        model.replicas.append(replica)
        self.loads += 1
        replica.task.add_done_callback(lambda task: self._settle(model, replica))
        self.background(self._bury(model, replica))

    def _settle(self, model: ReplicaSet, replica: Replica) -> None:
        """Runs when a load ends. An exception here would be lost in the callback, and its waiters would hang."""
        try:
            self._loaded(model, replica)
        except Exception as error:  # noqa: BLE001 - a bug here must not leave requests without an answer
            log.exception("a loaded model cannot be used", model=model.entry.name)
            self._fail(model, error)

    def _loaded(self, model: ReplicaSet, replica: Replica) -> None:
        """Gives the waiting requests a worker, or the reason why there is none."""
        if replica.given_up:
            pass  # requests that came meanwhile wait for the next load
        elif replica.task.cancelled():
            self._fail(
                model,
                ModelUnavailable(
                    f"the loading of {model.entry.name} was cancelled", "Run the command again to load it."
                ),
            )
        elif (error := replica.task.exception()) is not None:
            self._fail(model, error)
        else:
            replica.load_s, replica.used, replica.loading = time.monotonic() - replica.begun, time.monotonic(), False
            replica.room = self._budget.taken(model.entry, replica.worker)
            if replica.ready and not self._is_current(model.entry, replica):
                self.end_when_idle(replica)  # the file changed during the load: the waiting requests get a new replica
            elif replica.ready:
                self._serve(model)
                self._rest(model)
            else:
                self._fail(model, EngineFailed(f"the engine of {model.entry.name} ended right after loading"))
        self.rebalance()

    def _serve(self, model: ReplicaSet) -> None:
        """Gives each waiting request a worker with its lease already taken, so that it cannot be unloaded in between."""
        for waiter in model.waiting:
            if not waiter.worker.done():
                worker = model.choose(waiter.prompt)
                if waiter.leases:
                    worker.take()
                waiter.worker.set_result(worker)
        model.waiting.clear()

    def _fail(self, model: ReplicaSet, error: BaseException) -> None:
        for waiter in model.waiting:
            if not waiter.worker.done():
                waiter.worker.set_exception(error)
        model.waiting.clear()

    async def _bury(self, model: ReplicaSet, replica: Replica) -> None:
        """Removes the replica when its process has ended or its load has failed."""
        await asyncio.wait([replica.task])
        if not replica.loading:
            await replica.worker.ended.wait()
        model.replicas.remove(replica)
        model.affinity.forget(replica.number)
        if not model.replicas:
            model.stop_timer()
            if not model.waiting:
                model.wanted = 1
        self.rebalance()

    def end_when_idle(self, replica: Replica) -> None:
        """Ends the replica after its last request. Requests not yet started return and wait for another; a load is
        cancelled.
        """
        if replica.loading:
            replica.given_up = True
            replica.task.cancel()
            return
        self.background(self.retire(replica))
        replica.worker.recall()

    def retire(self, replica: Replica) -> Coroutine[None, None, None]:
        """The replica takes no new requests from now on; the awaitable ends it after its last request."""
        replica.worker.retiring += 1
        return self._end(replica)

    async def _end(self, replica: Replica) -> None:
        worker = replica.worker
        try:
            await worker.unused.wait()
            await worker.stop()
        finally:
            worker.retiring -= 1
            if replica.ready:  # stopping was cancelled
                self._serve(self.models[worker.name])

    def background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ends all engines, also those still loading."""
        self.closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        for model in self.models.values():
            model.stop_timer()
        replicas = list(self.replicas())
        loads = [replica.task for replica in replicas if replica.loading]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.gather(*(it.worker.stop() for it in replicas if not it.loading and not it.worker.ended.is_set()))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
