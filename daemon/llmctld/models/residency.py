"""Which models are loaded: loads on demand, once however many ask, lends workers to requests, and ends them when told.

It does not decide which model a request should use, nor compute anything itself.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from llmctl.config import Cache, ModelEntry, ModelSettings
from llmctl.errors import ModelUnavailable
from llmctl.wire import EngineStatus
from llmctld.models.catalog import Catalog
from llmctld.models.remote import Remotes
from llmctld.models.target import REMOTE
from llmctld.models.worker import Lent, Load, Worker

KV_SHARE = 0.8
"""Of the memory that is free when a model is loaded, what it may take."""


class Loading(NamedTuple):
    """A model on its way into memory."""

    entry: ModelEntry
    worker: Lent
    task: "asyncio.Task[None]"


class Residency:
    """The workers of this hub, at most one per model."""

    def __init__(self, catalog: Catalog, log_folder: Path, prefixes: Path, cache: Cache) -> None:
        self._catalog, self._log_folder, self._prefixes, self._cache = catalog, log_folder, prefixes, cache
        self._remotes = Remotes()
        self._workers: dict[str, Lent] = {}
        self._loads: dict[str, Loading] = {}
        self._identities: dict[str, tuple[str, ModelSettings]] = {}

    @property
    def names(self) -> list[str]:
        return sorted(name for name in self._workers if self._live(name))

    def is_loaded(self, entry: ModelEntry) -> bool:
        return entry.name in self.names

    def holds(self, name: str) -> bool:
        """Whether a process of this model is there, be it loaded or loading."""
        return name in self._loads or self._live(name) is not None

    def slots(self, entry: ModelEntry) -> int:
        """Requests that can run together on this model, as loaded, or as it would be."""
        worker = self._live(entry.name)
        return worker.loaded.slots if worker and worker.loaded else self._catalog.slots(entry)

    @asynccontextmanager
    async def lease(self, entry: ModelEntry) -> AsyncIterator[Lent]:
        """The right to use a loaded model: it is not unloaded before the block is left. Raises ModelUnavailable."""
        worker = await self.load(entry)
        worker.take()
        try:
            yield worker
        finally:
            worker.give_back()

    async def load(self, entry: ModelEntry) -> Lent:
        """The model's worker. All who ask during a load wait for the same one; it goes on when one of them leaves."""
        identity = self._catalog.identity(entry), self._catalog.settings(entry)
        worker = self._live(entry.name)
        while worker is not None and (worker.retiring or self._identities[entry.name] != identity):
            await self._retire(worker)  # being unloaded, or its file or settings are others now
            worker = self._live(entry.name)
        if worker is not None:
            return worker
        loading = self._loads.get(entry.name)
        if loading is None:
            made = self._worker(entry)
            loading = self._loads[entry.name] = Loading(entry, made, asyncio.create_task(made.start()))
            loading.task.add_done_callback(lambda task: self._loaded(entry.name, identity, task))
        try:
            await asyncio.shield(loading.task)
        except asyncio.CancelledError:
            if loading.task.cancelled():
                raise ModelUnavailable(f"the loading of {entry.name} was ended", "Ask again to load it.") from None
            raise
        return loading.worker

    def _live(self, name: str) -> Lent | None:
        worker = self._workers.get(name)
        return None if worker is None or worker.ended.is_set() else worker

    def _worker(self, entry: ModelEntry) -> Lent:
        settings = self._catalog.settings(entry)
        slots = self._catalog.slots(entry)
        load = Load(
            name=entry.name,
            backend=entry.backend,
            kind=entry.kind,
            path=entry.target,
            context=settings.context,
            slots=slots,
            retained=slots if settings.retained is None else settings.retained,
            threads=settings.threads or psutil.cpu_count(logical=False) or 1,
            gpu_layers=-1 if settings.gpu_layers is None else settings.gpu_layers,
            device=settings.device or "auto",
            tensor_split=settings.tensor_split or [],
            kv_type=settings.kv_type or "f16",
            flash_attention=settings.flash_attention,
            batch=settings.batch or 512,
            speculation=settings.speculation or "ngram",
            pooling=settings.pooling,
            normalize=settings.normalize,
            prompts=settings.prompts or {},
            draft=settings.draft or "",
            memory_bytes=int(psutil.virtual_memory().available * KV_SHARE),
            identity=self._catalog.identity(entry),
            saved_folder=str(self._prefixes / entry.name) if self._cache.prefix_disk_bytes else "",
            saved_memory_bytes=int(self._cache.prefix_memory_bytes),
            saved_disk_bytes=int(self._cache.prefix_disk_bytes),
            first_ms=settings.first_ms or 0.0,
            token_ms=settings.token_ms or 0.0,
            fail=settings.fail,
        )
        return self._remotes.worker(load, settings) if entry.backend == REMOTE else Worker(load, self._log_folder)

    def _loaded(self, name: str, identity: tuple[str, ModelSettings], task: "asyncio.Task[None]") -> None:
        loading = self._loads.pop(name)
        if not task.cancelled() and task.exception() is None:
            self._workers[name] = loading.worker
            self._identities[name] = identity

    async def unload(self, name: str) -> None:
        """Ends the model's engine once it serves nobody; who comes later waits for the next one. A load is ended at once.

        Raises ModelUnavailable.
        """
        loading = self._loads.get(name)
        if loading is not None:
            loading.task.cancel()
            await asyncio.wait([loading.task])
            return
        worker = self._live(name)
        if worker is None:
            raise ModelUnavailable(f"the model {name} is not loaded", "`llmctl ps` shows what is loaded.")
        await self._retire(worker)

    def forget(self, name: str) -> None:
        """What was computed for a model that is gone goes too."""
        shutil.rmtree(self._prefixes / name, ignore_errors=True)

    async def _retire(self, worker: Lent) -> None:
        worker.retiring += 1
        try:
            await worker.unused.wait()
            await worker.stop()
        finally:
            worker.retiring -= 1

    def statuses(self) -> list[EngineStatus]:
        """One per engine process, as `llmctl ps` prints them."""
        return [self._status(self._workers[name]) for name in self.names] + [
            EngineStatus(name, entry.backend, worker.pid, "loading", 0, worker.memory_bytes, 0, 0, 0)
            for name, (entry, worker, _) in sorted(self._loads.items())
        ]

    def _status(self, worker: Lent) -> EngineStatus:
        assert worker.loaded is not None  # only loaded workers are kept
        loaded = worker.loaded
        return EngineStatus(
            worker.name, loaded.backend, worker.pid, worker.state, 0, worker.memory_bytes,
            loaded.context, loaded.slots, worker.busy, round(worker.tokens_per_second, 1),
            gpu_bytes=loaded.gpu_bytes, gpu_layers=loaded.gpu_layers, layers=loaded.layers, devices=loaded.devices,
            gpu_share=loaded.gpu_share,
        )  # fmt: skip

    async def close(self) -> None:
        """Ends every engine, also those still loading."""
        loads = [loading.task for loading in self._loads.values()]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers.values() if not worker.ended.is_set()))
