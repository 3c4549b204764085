"""What requests ask about loaded models: lends workers, keeps models for as long as was said, loads and unloads by hand.

It keeps the books of leases and keep-alive; model_pool.py holds the processes. It does not decide which model a request
should use, nor compute anything itself.
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
from llmctld.models.engines.ladder import Ladder
from llmctld.models.engines.worker import ModelHandle
from llmctld.models.running import load_plan
from llmctld.models.running.load_plan import Group
from llmctld.models.running.memory_budget import MemoryBudget, size
from llmctld.models.running.model_pool import ModelPool
from llmctld.models.running.replicas import Replica, ReplicaSet, Waiter
from llmctld.watch import log

KEEP_ALIVE_S = 15 * 60.0
"""How long a model stays loaded that nobody asks for, where nothing else is said."""


class Residency:
    """The engine processes of this hub, within `config.limits`; `prefixes` is where their computed prefixes are kept."""

    def __init__(
        self, catalog: Catalog, supply: MemoryBudget, log_folder: Path, prefixes: Path, config: Config, ladder: Ladder
    ) -> None:
        self._catalog, self._supply, self._prefixes, self._config = catalog, supply, prefixes, config
        self._fleet = ModelPool(catalog, supply, log_folder, prefixes, config, ladder, self._rest)

    # ---- what others ask --------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        loaded = (it.worker.name for it in self._fleet.replicas() if not it.loading and not it.worker.ended.is_set())
        return sorted(set(loaded))

    def is_loaded(self, entry: ModelEntry) -> bool:
        model = self._fleet.models.get(entry.name)
        return model is not None and bool(model.ready)

    def holds(self, name: str) -> bool:
        """Whether a process of this model is there, be it loaded or loading."""
        return name in self._fleet.models and bool(self._fleet.models[name].replicas)

    def leases(self, name: str) -> int:
        """Requests that a loaded model has."""
        return sum(it.worker.leases for it in self._fleet.models[name].replicas) if name in self._fleet.models else 0

    def slots(self, entry: ModelEntry) -> int:
        """Requests that can run together on this model, as loaded, or as it would be."""
        ready = self._fleet.models[entry.name].ready if entry.name in self._fleet.models else []
        loaded = [replica.worker.loaded.slots for replica in ready if replica.worker.loaded]
        return sum(loaded) or self._catalog.slots(entry)

    def remaining(self, entry: ModelEntry) -> float | None:
        """Seconds until it is unloaded if nobody asks for it, negative: it stays; None while somebody uses it."""
        if self.leases(entry.name) or not self.is_loaded(entry):
            return None
        ends = self._fleet.models[entry.name].ends
        return -1.0 if ends is None else max(0.0, ends - time.time())

    def outlook(self, entry: ModelEntry) -> str:
        """What is to be said to who asks for a model that is not loaded. Raises ModelUnavailable where it has no room, or no
        rung holds it.
        """
        model = self._fleet.model(entry)
        if model.replicas:
            return f"loading {entry.name}"
        self._fleet.check(entry)
        residents = list(self._fleet.residents())
        self._supply.check(entry, residents)
        group = Group(entry.name, self._supply.needs(entry), time.monotonic())
        decision = load_plan.decide(group.since, self._supply.limit, residents, [group], float("inf"))
        leaving = [replica.worker.name for replica in self._fleet.replicas() if replica in decision.evict]
        if leaving:
            return f"loading {entry.name}, and unloading {', '.join(sorted(leaving))} for it"
        if not decision.load:
            held = sorted({f"{it.name} is {'loading' if it.loading else 'busy'}" for it in residents if it.room.any})
            return f"{entry.name} is loaded when there is room for its {size(group.room)}: {', '.join(held)}"
        return f"loading {entry.name}"

    # ---- leases -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lease(
        self, entry: ModelEntry, prompt: str = "", keep_alive: float | None = None
    ) -> AsyncIterator[ModelHandle]:
        """The right to use a loaded model: it is not unloaded before the block is left. Raises ModelUnavailable.

        `prompt` finds the replica that knows its beginning; `keep_alive`: seconds that the model stays loaded afterwards,
        negative for ever, None as its settings say.
        """
        model = self._fleet.model(entry)
        self._fleet.renew(model)
        if model.ready:
            worker = model.choose(prompt)
            worker.take()
            if sum(not replica.worker.ended.is_set() for replica in model.replicas) < model.wanted:
                self._fleet.background(self._restore(model))
        else:
            worker = await self._wait(model, Waiter(_now(), True, prompt, _future()))
        model.stop_timer()
        try:
            yield worker
        finally:
            worker.give_back()
            self._given_back(model, worker, keep_alive)

    async def load(self, entry: ModelEntry, replicas: int | None = None) -> ModelHandle:
        """The model's worker, or the last one of so many. All who ask during a load wait for the same one; it goes on when
        one of them leaves. Raises ModelUnavailable, and InvalidRequest for too many replicas.
        """
        model = self._fleet.model(entry)
        self._fleet.renew(model)
        if replicas is not None:
            self._resize(model, replicas)
        worker = model.ready[-1].worker if model.ready else None
        for ready in range(len(model.ready), replicas or 1):  # each was there, if it may have made room again since
            if len(model.ready) <= ready:
                worker = await self._wait(model, Waiter(_now(), False, "", _future()))
        assert worker is not None
        self._rest(model)
        return worker

    def retry(self, entry: ModelEntry) -> None:
        """The next load tries what was given up: the files, or the machine, may be better than they were."""
        self._fleet.retry(entry)

    def _rest(self, model: ReplicaSet) -> None:
        """It is loaded, and nobody uses it yet. What is loaded by hand is to be used at least once."""
        if not any(replica.worker.leases for replica in model.replicas):
            self._start_timer(model, self._keep_alive(model.entry, None) or KEEP_ALIVE_S)

    async def _restore(self, model: ReplicaSet) -> None:
        """A replica that died comes back, while the others serve."""
        try:
            await self.load(model.entry, model.wanted)
        except LlmctlError as error:
            log.warning("a replica could not be loaded again", model=model.entry.name, error=error.message)

    def _resize(self, model: ReplicaSet, wanted: int) -> None:
        most = self._config.resources.max_replicas or psutil.cpu_count() or 1
        if not 1 <= wanted <= most:
            raise InvalidRequest(f"replicas is {wanted}; it must be between 1 and {most} (resources.max_replicas)")
        model.wanted = wanted
        for replica in sorted(model.ready, key=lambda replica: replica.number)[wanted:]:
            self._fleet.let_go(replica)

    async def _wait(self, model: ReplicaSet, waiter: Waiter) -> ModelHandle:
        """Until a process of this model is loaded. Whoever gives up leaves what he was given."""
        self._supply.check(model.entry, list(self._fleet.residents()))
        model.waiting.append(waiter)
        self._fleet.turn()
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
        self._fleet.turn()

    # ---- keep-alive -------------------------------------------------------------------------------------------------

    def _keep_alive(self, entry: ModelEntry, asked: float | None) -> float:
        """Seconds; negative: until it is unloaded."""
        settings = self._catalog.settings(entry)
        if settings.pin:
            return -1.0
        return asked if asked is not None else KEEP_ALIVE_S if settings.keep_alive is None else settings.keep_alive

    def _start_timer(self, model: ReplicaSet, keep_alive: float) -> None:
        model.stop_timer()
        if keep_alive >= 0 and not self._fleet.closed:
            model.start_timer(keep_alive, self._expire)

    def _expire(self, model: ReplicaSet) -> None:
        model.stop_timer()
        for replica in model.ready:
            if not replica.worker.leases:
                log.info("a model that nobody asks for is unloaded", model=model.entry.name)
                self._fleet.let_go(replica)

    async def pin(self, entry: ModelEntry) -> None:
        """After the setting has changed: a pinned model is loaded, and stays; any other gets its keep-alive again."""
        if self._catalog.settings(entry).pin:
            await self.load(entry)
        elif self.is_loaded(entry):
            self._start_timer(self._fleet.model(entry), self._keep_alive(entry, None))

    def preload(self) -> None:
        """Begins to load what is to be there from the start; what cannot be loaded is logged."""
        for entry in self._catalog.all():
            settings = self._catalog.settings(entry)
            if settings.preload or settings.pin:
                self._fleet.background(self._preload(entry))

    async def _preload(self, entry: ModelEntry) -> None:
        try:
            await self.load(entry)
        except LlmctlError as error:
            log.warning("a model could not be loaded at the start", model=entry.name, error=error.message)

    async def unload(self, name: str) -> None:
        """Ends the model's engines once they serve nobody; who comes later waits for the next one. A load is ended at once.

        Raises ModelUnavailable.
        """
        replicas = list(self._fleet.models[name].replicas) if name in self._fleet.models else []
        if not replicas:
            raise ModelUnavailable(f"the model {name} is not loaded", "`llmctl ps` shows what is loaded.")
        loads = [replica.task for replica in replicas if replica.loading]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.gather(*(self._fleet.retire(replica) for replica in replicas if not replica.loading))
        self._fleet.models[name].wanted = 1

    def forget(self, name: str) -> None:
        """What was computed for a model that is gone goes too."""
        for folder in (self._prefixes / name, *self._prefixes.glob(f"{name}+*")):
            shutil.rmtree(folder, ignore_errors=True)

    # ---- how it stands ----------------------------------------------------------------------------------------------

    def statuses(self) -> list[EngineStatus]:
        """One per engine process, as `llmctl ps` prints them."""
        found = sorted(
            ((model, replica) for model in self._fleet.models.values() for replica in model.replicas),
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
        until = (
            None
            if model.ends is None
            else datetime.fromtimestamp(model.ends, timezone.utc).isoformat(timespec="seconds")
        )
        return EngineStatus(
            worker.name, loaded.backend, worker.pid, state, replica.number, worker.memory_bytes,
            loaded.context, loaded.slots, worker.busy, round(worker.tokens_per_second, 1), until,
            loaded.gpu_bytes, loaded.gpu_layers, loaded.layers, loaded.devices, loaded.gpu_share,
            worker.rung,
        )  # fmt: skip

    async def close(self) -> None:
        """Ends every engine, also those still loading."""
        await self._fleet.close()


def _now() -> float:
    return time.monotonic()


def _future() -> "asyncio.Future[ModelHandle]":
    return asyncio.get_running_loop().create_future()
