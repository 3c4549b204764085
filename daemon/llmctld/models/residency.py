"""Which models are loaded: loads on demand, once however many ask, lends workers to requests, and ends what is not needed.

It keeps the books (leases, keep-alive, who waits) and does what swap.decide says; it does not decide which model a request
should use, nor compute anything itself.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path

import psutil

from llmctl.config import Config, ModelEntry, ModelSettings
from llmctl.errors import EngineFailed, InvalidRequest, LlmctlError, ModelUnavailable
from llmctl.wire import EngineStatus
from llmctld.models import swap
from llmctld.models.catalog import Catalog
from llmctld.models.loading import load_of
from llmctld.models.remote import Remotes
from llmctld.models.replicas import Model, Replica, Waiter
from llmctld.models.supply import Supply, size
from llmctld.models.swap import Group, Resident
from llmctld.models.target import REMOTE
from llmctld.models.worker import Lent, Worker
from llmctld.watch import log

KEEP_ALIVE_S = 15 * 60.0
"""How long a model stays loaded that nobody asks for, where nothing else is said."""


class Residency:
    """The engine processes of this hub, within `config.limits`; `prefixes` is where their computed prefixes are kept."""

    def __init__(self, catalog: Catalog, supply: Supply, log_folder: Path, prefixes: Path, config: Config) -> None:
        self._catalog, self._log_folder, self._prefixes, self._config = catalog, log_folder, prefixes, config
        self._supply, self._remotes = supply, Remotes()
        self._models: dict[str, Model] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False
        self.loads = 0
        """Processes that were started: what swaps cost."""

    # ---- what others ask --------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        loaded = (it.worker.name for it in self._replicas() if not it.loading and not it.worker.ended.is_set())
        return sorted(set(loaded))

    def is_loaded(self, entry: ModelEntry) -> bool:
        model = self._models.get(entry.name)
        return model is not None and bool(model.ready)

    def holds(self, name: str) -> bool:
        """Whether a process of this model is there, be it loaded or loading."""
        return name in self._models and bool(self._models[name].replicas)

    def slots(self, entry: ModelEntry) -> int:
        """Requests that can run together on this model, as loaded, or as it would be."""
        ready = self._models[entry.name].ready if entry.name in self._models else []
        loaded = [replica.worker.loaded.slots for replica in ready if replica.worker.loaded]
        return sum(loaded) or self._catalog.slots(entry)

    def outlook(self, entry: ModelEntry) -> str:
        """What is to be said to who asks for a model that is not loaded."""
        model = self._model(entry)
        if model.replicas:
            return f"loading {entry.name}"
        group = Group(entry.name, self._supply.needs(entry), time.monotonic())
        decision = swap.decide(group.since, self._supply.limit, list(self._residents()), [group], float("inf"))
        leaving = [replica.worker.name for replica in self._replicas() if replica in decision.evict]
        if leaving:
            return f"loading {entry.name}, for which {', '.join(sorted(leaving))} is unloaded"
        if not decision.load:
            held = ", ".join(sorted({replica.worker.name for replica in self._replicas() if replica.room.any}))
            return f"{entry.name} is loaded when there is room for its {size(group.room)}: {held} is busy"
        return f"loading {entry.name}"

    # ---- leases -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lease(self, entry: ModelEntry, prompt: str = "", keep_alive: float | None = None) -> AsyncIterator[Lent]:
        """The right to use a loaded model: it is not unloaded before the block is left. Raises ModelUnavailable.

        `prompt` finds the replica that knows its beginning; `keep_alive`: seconds that the model stays loaded afterwards,
        negative for ever, None as its settings say.
        """
        model = self._model(entry)
        self._renew(model)
        if model.ready:
            worker = model.choose(prompt)
            worker.take()
            if sum(not replica.worker.ended.is_set() for replica in model.replicas) < model.wanted:
                self._background(self._restore(model))
        else:
            worker = await self._wait(model, Waiter(_now(), True, prompt, _future()))
        self._stop_timer(model)
        try:
            yield worker
        finally:
            worker.give_back()
            self._given_back(model, worker, keep_alive)

    async def load(self, entry: ModelEntry, replicas: int | None = None) -> Lent:
        """The model's worker, or the last one of so many. All who ask during a load wait for the same one; it goes on when
        one of them leaves. Raises ModelUnavailable, and InvalidRequest for too many replicas.
        """
        model = self._model(entry)
        self._renew(model)
        if replicas is not None:
            self._resize(model, replicas)
        wanted = replicas or 1
        while len(model.ready) < wanted:
            await self._wait(model, Waiter(_now(), False, "", _future()))
        if keep_alive := self._keep_alive(entry, None):  # what is loaded by hand is to be used at least once
            self._start_timer(model, keep_alive)
        return model.ready[-1].worker

    async def _restore(self, model: Model) -> None:
        """A replica that died comes back, while the others serve."""
        try:
            await self.load(model.entry, model.wanted)
        except LlmctlError as error:
            log.warning("a replica could not be loaded again", model=model.entry.name, error=error.message)

    def _resize(self, model: Model, wanted: int) -> None:
        most = self._config.resources.max_replicas or psutil.cpu_count() or 1
        if not 1 <= wanted <= most:
            raise InvalidRequest(f"replicas is {wanted}; it must be between 1 and {most} (resources.max_replicas)")
        model.wanted = wanted
        for replica in sorted(model.ready, key=lambda replica: replica.number)[wanted:]:
            self._let_go(replica)

    async def _wait(self, model: Model, waiter: Waiter) -> Lent:
        """Until a process of this model is loaded. Whoever gives up leaves what he was given."""
        self._supply.check(model.entry, list(self._residents()))
        model.waiting.append(waiter)
        self._turn()
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

    def _given_back(self, model: Model, worker: Lent, keep_alive: float | None) -> None:
        for replica in model.replicas:
            if replica.worker is worker:
                replica.used = _now()
        if not any(replica.worker.leases for replica in model.replicas):
            self._start_timer(model, self._keep_alive(model.entry, keep_alive))
        self._turn()

    # ---- keep-alive -------------------------------------------------------------------------------------------------

    def _keep_alive(self, entry: ModelEntry, asked: float | None) -> float:
        """Seconds; negative: until it is unloaded."""
        settings = self._catalog.settings(entry)
        if settings.pin:
            return -1.0
        return asked if asked is not None else KEEP_ALIVE_S if settings.keep_alive is None else settings.keep_alive

    def _start_timer(self, model: Model, keep_alive: float) -> None:
        self._stop_timer(model)
        if keep_alive >= 0 and not self._closed:
            model.ends = time.time() + keep_alive
            model.timer = asyncio.get_running_loop().call_later(keep_alive, self._expire, model)

    def _stop_timer(self, model: Model) -> None:
        if model.timer is not None:
            model.timer.cancel()
        model.timer = model.ends = None

    def _expire(self, model: Model) -> None:
        self._stop_timer(model)
        for replica in model.ready:
            if not replica.worker.leases:
                log.info("a model that nobody asks for is unloaded", model=model.entry.name)
                self._let_go(replica)

    async def pin(self, entry: ModelEntry) -> None:
        """After the setting has changed: a pinned model is loaded, and stays; any other gets its keep-alive again."""
        if self._catalog.settings(entry).pin:
            await self.load(entry)
        elif self.is_loaded(entry):
            self._start_timer(self._model(entry), self._keep_alive(entry, None))

    def preload(self) -> None:
        """Begins to load what is to be there from the start; what cannot be loaded is logged."""
        for entry in self._catalog.all():
            settings = self._catalog.settings(entry)
            if settings.preload or settings.pin:
                self._background(self._preload(entry))

    async def _preload(self, entry: ModelEntry) -> None:
        try:
            await self.load(entry)
        except LlmctlError as error:
            log.warning("a model could not be loaded at the start", model=entry.name, error=error.message)

    # ---- loading and ending -----------------------------------------------------------------------------------------

    def _model(self, entry: ModelEntry) -> Model:
        model = self._models.setdefault(entry.name, Model(entry))
        model.entry = entry
        return model

    def _replicas(self) -> Iterator[Replica]:
        for model in self._models.values():
            yield from model.replicas

    def _residents(self) -> Iterator[Resident]:
        for model in self._models.values():
            pinned = bool(self._catalog.settings(model.entry).pin)
            for it in model.replicas:
                leaving = bool(it.worker.retiring)
                yield Resident(
                    it, model.entry.name, it.room, it.worker.leases, pinned, it.loading, leaving, it.used, it.load_s,
                    len(model.waiting),
                )  # fmt: skip

    def _renew(self, model: Model) -> None:
        """A replica whose file or settings are others now takes no one any more."""
        self._catalog.identity(model.entry)  # a file that is gone is said, and what is loaded stays
        if not all(self._is_current(model.entry, replica) for replica in model.ready):
            for replica in model.ready:
                self._let_go(replica)

    def _is_current(self, entry: ModelEntry, replica: Replica) -> bool:
        identity, settings = replica.made_for
        return settings == self._catalog.settings(entry).computing() and self._catalog.still(identity, entry)

    def _identity(self, entry: ModelEntry) -> tuple[str, ModelSettings]:
        return self._catalog.identity(entry), self._catalog.settings(entry).computing()

    def _made(self, entry: ModelEntry, number: int) -> Lent:
        """A worker that has not begun to load. Raises ModelUnavailable."""
        folder = self._prefixes / (f"{entry.name}+{number}" if number else entry.name)
        room = self._supply.left(list(self._residents()))
        load = load_of(entry, self._catalog, self._config, folder, room.host)
        remote = entry.backend == REMOTE
        return self._remotes.worker(load, self._catalog.settings(entry)) if remote else Worker(load, self._log_folder)

    def _turn(self) -> None:
        """Whatever has changed: who can be loaded now is, and who must make room ends."""
        missing = {
            name: model for name, model in self._models.items()
            if model.waiting and not model.leaving and len(model.replicas) < model.wanted
        }  # fmt: skip
        if not missing or self._closed:
            return
        now, max_wait = _now(), self._config.resources.max_wait
        groups = [
            Group(name, self._supply.needs(model.entry), min(waiter.since for waiter in model.waiting))
            for name, model in missing.items()
        ]
        decision = swap.decide(now, self._supply.limit, list(self._residents()), groups, max_wait)
        for replica in [replica for replica in self._replicas() if replica in decision.evict]:
            log.info("a model makes room", model=replica.worker.name, leases=replica.worker.leases)
            self._let_go(replica)
        for name in decision.load:
            self._start(missing[name])
        self._set_alarm([group.since + max_wait for group in groups if group.name not in decision.load])
        if decision.load:
            self._turn()  # for those that want more than one

    def _set_alarm(self, times: list[float]) -> None:
        """For the first who will have waited long enough."""
        if self._alarm is not None:
            self._alarm.cancel()
        later = [at for at in times if at > _now()]
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(min(later) - _now() + 0.001, self._turn) if later else None

    def _start(self, model: Model) -> None:
        number = next(n for n in range(model.wanted) if n not in {replica.number for replica in model.replicas})
        try:
            made_for, worker = self._identity(model.entry), self._made(model.entry, number)
        except LlmctlError as error:
            self._fail(model, error)
            return
        needs = self._supply.needs(model.entry)
        room = needs.at_most(self._supply.left(list(self._residents())))
        replica = Replica(number, worker, made_for, room, asyncio.create_task(worker.start()))
        model.replicas.append(replica)
        self.loads += 1
        replica.task.add_done_callback(lambda task: self._settle(model, replica))
        self._background(self._bury(model, replica))

    def _settle(self, model: Model, replica: Replica) -> None:
        """Whatever happens, nobody waits on: an exception in a callback is heard by no one."""
        try:
            self._loaded(model, replica)
        except Exception as error:  # noqa: BLE001 - a bug here must not leave requests without an answer
            log.exception("a loaded model could not be taken in", model=model.entry.name)
            self._fail(model, error)

    def _loaded(self, model: Model, replica: Replica) -> None:
        """It serves those who wait; or they hear why not."""
        if replica.task.cancelled():
            self._fail(model, ModelUnavailable(f"the loading of {model.entry.name} was ended", "Ask again to load it."))
        elif (error := replica.task.exception()) is not None:
            self._fail(model, error)
        else:
            replica.load_s, replica.used, replica.loading = _now() - replica.begun, _now(), False
            replica.room = self._supply.taken(model.entry, replica.worker)
            if replica.ready and not self._is_current(model.entry, replica):
                self._let_go(replica)  # its file became another while it was read: those who wait get that one
            elif replica.ready:
                self._serve(model)
            else:
                self._fail(model, EngineFailed(f"the engine of {model.entry.name} ended as soon as it was loaded"))
        self._turn()

    def _serve(self, model: Model) -> None:
        """Each who waits gets a worker, and at once the right to it: nobody can unload it before they use it."""
        for waiter in model.waiting:
            if not waiter.worker.done():
                worker = model.choose(waiter.prompt)
                if waiter.leases:
                    worker.take()
                waiter.worker.set_result(worker)
        model.waiting.clear()

    def _fail(self, model: Model, error: BaseException) -> None:
        for waiter in model.waiting:
            if not waiter.worker.done():
                waiter.worker.set_exception(error)
        model.waiting.clear()

    async def _bury(self, model: Model, replica: Replica) -> None:
        """Takes the replica off the books when its process has ended, or has not come to be."""
        await asyncio.wait([replica.task])
        if not replica.loading:
            await replica.worker.ended.wait()
        model.replicas.remove(replica)
        model.affinity.forget(replica.number)
        if not model.replicas:
            self._stop_timer(model)
            if not model.waiting:
                model.wanted = 1
        self._turn()

    def _let_go(self, replica: Replica) -> None:
        self._background(self._retire(replica))

    def _retire(self, replica: Replica) -> Coroutine[None, None, None]:
        """From now on it takes nobody; what it has not begun yet comes back. It ends, as awaited, once it serves nobody."""
        replica.worker.retiring += 1
        replica.worker.recall()
        return self._end(replica)

    async def _end(self, replica: Replica) -> None:
        worker = replica.worker
        try:
            await worker.unused.wait()
            await worker.stop()
        finally:
            worker.retiring -= 1
            if replica.ready:  # the end was given up
                self._serve(self._models[worker.name])

    def _background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def unload(self, name: str) -> None:
        """Ends the model's engines once they serve nobody; who comes later waits for the next one. A load is ended at once.

        Raises ModelUnavailable.
        """
        replicas = list(self._models[name].replicas) if name in self._models else []
        if not replicas:
            raise ModelUnavailable(f"the model {name} is not loaded", "`llmctl ps` shows what is loaded.")
        loads = [replica.task for replica in replicas if replica.loading]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.gather(*(self._retire(replica) for replica in replicas if not replica.loading))
        self._models[name].wanted = 1

    def forget(self, name: str) -> None:
        """What was computed for a model that is gone goes too."""
        for folder in (self._prefixes / name, *self._prefixes.glob(f"{name}+*")):
            shutil.rmtree(folder, ignore_errors=True)

    # ---- how it stands ----------------------------------------------------------------------------------------------

    def statuses(self) -> list[EngineStatus]:
        """One per engine process, as `llmctl ps` prints them."""
        found = sorted(
            ((model, replica) for model in self._models.values() for replica in model.replicas),
            key=lambda pair: (pair[1].loading, pair[0].entry.name, pair[1].number),
        )
        return [self._status(model, replica) for model, replica in found if not replica.worker.ended.is_set()]

    def _status(self, model: Model, replica: Replica) -> EngineStatus:
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
        )  # fmt: skip

    async def close(self) -> None:
        """Ends every engine, also those still loading."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        for model in self._models.values():
            self._stop_timer(model)
        replicas = list(self._replicas())
        loads = [replica.task for replica in replicas if replica.loading]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.gather(*(it.worker.stop() for it in replicas if not it.loading and not it.worker.ended.is_set()))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _now() -> float:
    return time.monotonic()


def _future() -> "asyncio.Future[Lent]":
    return asyncio.get_running_loop().create_future()
