"""Loaded models as the rest of the hub uses them: leases, keep-alive, loading and unloading on command.

model_pool.py holds the processes. catalogue/catalog.py decides which model a request uses.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path

import psutil

from llmctl.config import Config, ModelEntry
from llmctl.errors import InvalidRequest, LlmctlError, ModelUnavailable
from llmctl.wire import EngineStatus
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.engines.handle import ModelHandle
from llmctld.models.engines.ladder import Ladder
from llmctld.models.running import load_plan
from llmctld.models.running.load_plan import Demand
from llmctld.models.running.memory_budget import MemoryBudget, size
from llmctld.models.running.model_pool import ModelPool
from llmctld.models.running.replicas import Replica, ReplicaSet, Waiter
from llmctld.runtime.log import log

KEEP_ALIVE_S = 15 * 60.0
"""Default time that an unused model stays loaded."""


class Residency:
    """The loaded models within `config.limits`. `prefixes`: folder for computed prefixes."""

    def __init__(
        self, catalog: Catalog, budget: MemoryBudget, log_folder: Path, prefixes: Path, config: Config, ladder: Ladder
    ) -> None:
        self._catalog, self._budget, self._prefixes, self._config = catalog, budget, prefixes, config
        self._pool = ModelPool(catalog, budget, log_folder, prefixes, config, ladder, self._rest)

    # ---- queries ----------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        loaded = (it.worker.name for it in self._pool.replicas() if not it.loading and not it.worker.ended.is_set())
        return sorted(set(loaded))

    def is_loaded(self, entry: ModelEntry) -> bool:
        model = self._pool.models.get(entry.name)
        return model is not None and bool(model.ready)

    def holds(self, name: str) -> bool:
        """Whether a process of the model exists, loaded or loading."""
        return name in self._pool.models and bool(self._pool.models[name].replicas)

    def leases(self, name: str) -> int:
        """Number of requests that use the model."""
        return sum(it.worker.leases for it in self._pool.models[name].replicas) if name in self._pool.models else 0

    def slots(self, entry: ModelEntry) -> int:
        """Number of concurrent requests on this model, as loaded or as it would be."""
        ready = self._pool.models[entry.name].ready if entry.name in self._pool.models else []
        loaded = [replica.worker.loaded.slots for replica in ready if replica.worker.loaded]
        return sum(loaded) or self._catalog.slots(entry)

    def remaining(self, entry: ModelEntry) -> float | None:
        """Seconds until it is unloaded if unused, negative: never; None while it is in use or not loaded."""
        if self.leases(entry.name) or not self.is_loaded(entry):
            return None
        left = self._pool.models[entry.name].left_s
        return -1.0 if left is None else left

    def wait_notice(self, entry: ModelEntry) -> str:
        """The notice for a request whose model is not loaded. Raises ModelUnavailable if it cannot fit in memory or
        crashes on every rung.
        """
        model = self._pool.model(entry)
        if model.replicas:
            return f"loading {entry.name}"
        self._pool.check(entry)
        residents = list(self._pool.residents())
        self._budget.check(entry, residents)
        demand = Demand(entry.name, self._budget.needs(entry), time.monotonic())
        decision = load_plan.decide(demand.since, self._budget.limit, residents, [demand], float("inf"))
        leaving = [replica.worker.name for replica in self._pool.replicas() if replica in decision.evict]
        if leaving:
            return f"loading {entry.name}, unloading {', '.join(sorted(leaving))} for it"
        if not decision.load:
            held = sorted({f"{it.name} is {'loading' if it.loading else 'busy'}" for it in residents if it.room.any})
            return f"{entry.name} waits for {size(demand.room)} of memory: {', '.join(held)}"
        return f"loading {entry.name}"

    # ---- leases -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lease(
        self, entry: ModelEntry, prompt: str = "", keep_alive: float | None = None
    ) -> AsyncIterator[ModelHandle]:
        """A worker of the model, which stays loaded while the block runs. Raises ModelUnavailable.

        `prompt`: prefers a replica that has computed its prefix. `keep_alive`: seconds that the model stays loaded
        afterwards, negative: forever, None: as its settings say.
        """
        model = self._pool.model(entry)
        self._pool.retire_outdated(model)
        if model.ready:
            worker = model.choose(prompt)
            worker.take()
            if sum(not replica.worker.ended.is_set() for replica in model.replicas) < model.wanted:
                self._pool.background(self._restore(model))
        else:
            worker = await self._wait(model, Waiter(_now(), True, prompt, _future()))
        model.stop_timer()
        try:
            yield worker
        finally:
            worker.give_back()
            self._given_back(model, worker, keep_alive)

    async def load(self, entry: ModelEntry, replicas: int | None = None) -> ModelHandle:
        """Loads the model, or so many replicas; the last worker. Concurrent callers share one load, which survives any
        of them leaving.

        Raises ModelUnavailable, and InvalidRequest for too many replicas.
        """
        model = self._pool.model(entry)
        self._pool.retire_outdated(model)
        if replicas is not None:
            self._resize(model, replicas)
        worker = model.ready[-1].worker if model.ready else None
        for ready in range(len(model.ready), replicas or 1):  # counts each once, even if it was evicted since
            if len(model.ready) <= ready:
                worker = await self._wait(model, Waiter(_now(), False, "", _future()))
        assert worker is not None
        self._rest(model)
        return worker

    def retry(self, entry: ModelEntry) -> None:
        """Lets the next load try what crashed before: the files or the machine may be better now."""
        self._pool.retry(entry)

    def _rest(self, model: ReplicaSet) -> None:
        """Starts the keep-alive of an unused model. One loaded by command stays at least the default time."""
        if not any(replica.worker.leases for replica in model.replicas):
            self._start_timer(model, self._keep_alive(model.entry, None) or KEEP_ALIVE_S)

    async def _restore(self, model: ReplicaSet) -> None:
        """Reloads a replica that died, while the others serve."""
        try:
            await self.load(model.entry, model.wanted)
        except LlmctlError as error:
            log.warning("a replica cannot be reloaded", model=model.entry.name, error=error.message)

    def _resize(self, model: ReplicaSet, wanted: int) -> None:
        most = self._config.resources.max_replicas or psutil.cpu_count() or 1
        if not 1 <= wanted <= most:
            raise InvalidRequest(f"replicas is {wanted}; it must be between 1 and {most} (resources.max_replicas)")
        model.wanted = wanted
        for replica in sorted(model.ready, key=lambda replica: replica.number)[wanted:]:
            self._pool.end_when_idle(replica)

    async def _wait(self, model: ReplicaSet, waiter: Waiter) -> ModelHandle:
        """Waits for a worker of the model. A cancelled waiter returns the lease it was given."""
        self._budget.check(model.entry, list(self._pool.residents()))
        model.waiting.append(waiter)
        self._pool.rebalance()
        try:
            return await waiter.worker
        except asyncio.CancelledError:
            if (
                waiter.leases
                and waiter.worker.done()
                and not waiter.worker.cancelled()
                and not waiter.worker.exception()
            ):
                waiter.worker.result().give_back()
                self._given_back(model, waiter.worker.result(), None)
            raise
        finally:
            if waiter in model.waiting:
                model.waiting.remove(waiter)

    def _given_back(self, model: ReplicaSet, worker: ModelHandle, keep_alive: float | None) -> None:
        for replica in model.replicas:
            if replica.worker is worker:
                replica.used = _now()
        if not any(replica.worker.leases for replica in model.replicas):
            self._start_timer(model, self._keep_alive(model.entry, keep_alive))
        self._pool.rebalance()

    # ---- keep-alive -------------------------------------------------------------------------------------------------

    def _keep_alive(self, entry: ModelEntry, asked: float | None) -> float:
        """Seconds; negative: forever."""
        settings = self._catalog.settings(entry)
        if settings.pin:
            return -1.0
        return asked if asked is not None else KEEP_ALIVE_S if settings.keep_alive is None else settings.keep_alive

    def _start_timer(self, model: ReplicaSet, keep_alive: float) -> None:
        model.stop_timer()
        if keep_alive >= 0 and not self._pool.closed:
            model.start_timer(keep_alive, self._expire)

    def _expire(self, model: ReplicaSet) -> None:
        model.stop_timer()
        for replica in model.ready:
            if not replica.worker.leases:
                log.info("an unused model is unloaded", model=model.entry.name)
                self._pool.end_when_idle(replica)

    def apply(self, entry: ModelEntry) -> bool:
        """Applies changed settings that need no load: `pin` and `keep_alive`. False: the next request loads the model again,
        since it is loaded with other settings.
        """
        if not self.is_loaded(entry):
            return True
        model = self._pool.model(entry)
        if not self.leases(entry.name):
            self._start_timer(model, self._keep_alive(entry, None))
        return self._pool.is_current(model)

    async def pin(self, entry: ModelEntry) -> None:
        """Applies a changed `pin` setting: a pinned model is loaded and stays; another one gets its keep-alive back."""
        if self._catalog.settings(entry).pin:
            await self.load(entry)
        elif self.is_loaded(entry):
            self._start_timer(self._pool.model(entry), self._keep_alive(entry, None))

    def preload(self) -> None:
        """Starts to load the models with `preload` or `pin`. Failures are logged."""
        guide = self._catalog.guide
        for entry in [*self._catalog.all(), *([guide] if guide else [])]:
            settings = self._catalog.settings(entry)
            if settings.preload or settings.pin:
                self._pool.background(self._preload(entry))

    async def _preload(self, entry: ModelEntry) -> None:
        try:
            await self.load(entry)
        except LlmctlError as error:
            log.warning("a model cannot be preloaded", model=entry.name, error=error.message)

    async def unload(self, name: str) -> None:
        """Ends the model's engines after their last requests, loads at once. New requests wait for the next load.

        Raises ModelUnavailable if it is not loaded.
        """
        replicas = list(self._pool.models[name].replicas) if name in self._pool.models else []
        if not replicas:
            raise ModelUnavailable(f"the model {name} is not loaded", "`llmctl ps` lists the loaded models.")
        loads = [replica.task for replica in replicas if replica.loading]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.gather(*(self._pool.retire(replica) for replica in replicas if not replica.loading))
        self._pool.models[name].wanted = 1

    def forget(self, name: str) -> None:
        """Deletes the computed prefixes of a model that was removed."""
        for folder in (self._prefixes / name, *self._prefixes.glob(f"{name}+*")):
            shutil.rmtree(folder, ignore_errors=True)

    # ---- status -----------------------------------------------------------------------------------------------------

    def statuses(self) -> list[EngineStatus]:
        """One per engine process, as `llmctl ps` shows them."""
        found = sorted(
            ((model, replica) for model in self._pool.models.values() for replica in model.replicas),
            key=lambda pair: (pair[1].loading, pair[0].entry.name, pair[1].number),
        )
        return [self._status(model, replica) for model, replica in found if not replica.worker.ended.is_set()]

    def _status(self, model: ReplicaSet, replica: Replica) -> EngineStatus:
        worker, loaded = replica.worker, replica.worker.loaded
        if loaded is None:
            return EngineStatus(
                worker.name, worker.backend, worker.pid, "loading", replica.number, worker.memory_bytes, 0, 0, 0
            )
        state = "leaving" if worker.retiring else worker.state
        left = model.left_s
        until = (
            None
            if left is None
            else datetime.fromtimestamp(time.time() + left, timezone.utc).isoformat(timespec="seconds")
        )
        return EngineStatus(
            worker.name, loaded.backend, worker.pid, state, replica.number, worker.memory_bytes,
            loaded.context, loaded.slots, worker.busy, round(worker.tokens_per_second, 1), until,
            loaded.gpu_bytes, loaded.gpu_layers, loaded.layers, loaded.devices, loaded.gpu_share,
            worker.rung,
        )  # fmt: skip

    async def close(self) -> None:
        """Ends all engines, also those still loading."""
        await self._pool.close()


def _now() -> float:
    return time.monotonic()


def _future() -> "asyncio.Future[ModelHandle]":
    return asyncio.get_running_loop().create_future()
