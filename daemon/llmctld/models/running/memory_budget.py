"""How much memory models may hold together, what each of them needs of it, and what is left: in bytes, in words.

It reads the machine, the limits and the estimates; who is loaded is residency's to know, and to decide about.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from llmctl.config import Limits, ModelEntry
from llmctl.errors import ModelUnavailable
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.target import LLAMA, TORCH, TRANSFORMERS
from llmctld.models.engines.worker import ModelHandle
from llmctld.models.machine import machine
from llmctld.models.memory.estimate import Estimates
from llmctld.models.running.load_plan import MemorySize, Resident, total

HOST_SHARE, GPU_SHARE = 0.8, 0.9
"""Of what the machine has, for models, where the limits say nothing."""
ON_GPU = (LLAMA, TORCH, TRANSFORMERS)
"""Backends that take a GPU where there is one, unless the settings keep them off it."""
FREE_SHARE = 0.8
"""Of the host memory that is free when a model is loaded, what it may take."""


class MemoryBudget:
    def __init__(self, catalog: Catalog, estimates: Estimates, limits: Limits) -> None:
        self._catalog, self._estimates, self._limits = catalog, estimates, limits

    @cached_property
    def limit(self) -> MemorySize:
        """What loaded models may hold together."""
        host, each = self._limits.memory_bytes, self._limits.gpu_memory_bytes
        gpus = (int(gpu.total * GPU_SHARE) if each is None else min(each, gpu.total) for gpu in machine.gpus())
        return MemorySize(int(machine.memory().total * HOST_SHARE) if host is None else host, sum(gpus))

    def needs(self, entry: ModelEntry) -> MemorySize:
        """As measured when it was last loaded so, else as estimated. What no GPU has room for is the host's."""
        measured = self._estimates.measured(entry)
        return self._split(entry, self._estimates.of(entry).total if measured is None else measured)

    def taken(self, entry: ModelEntry, worker: ModelHandle) -> MemorySize:
        """What a process that is loaded holds, as its engine says; it is noted for the next time."""
        assert worker.loaded is not None
        memory, gpu = worker.loaded.memory_bytes, worker.loaded.gpu_bytes
        self._estimates.note(entry, memory)
        return MemorySize(memory - gpu, gpu)

    def kind(self, paths: Sequence[Path]) -> tuple[str, str]:
        """The types of the tensors in these files together (the one that every file has counts only where there is no other), and
        the architectures.
        """
        types, architectures = self._estimates.types(paths), self._estimates.architectures(paths)
        return " ".join(sorted(types - {"F32"} or types)), " ".join(architectures)

    def _split(self, entry: ModelEntry, amount: int) -> MemorySize:
        settings = self._catalog.settings(entry)
        on_gpu = entry.backend in ON_GPU and settings.gpu_layers != 0 and settings.device != "cpu"
        gpu = min(amount, self.limit.gpu) if on_gpu else 0
        return MemorySize(amount - gpu, gpu)

    def left(self, residents: Iterable[Resident]) -> MemorySize:
        """For one more model: within the limit, and within what is free."""
        room = self.limit.minus(total(resident.room for resident in residents)).positive()
        return MemorySize(min(room.host, int(machine.memory().free * FREE_SHARE)), room.gpu)

    def check(self, entry: ModelEntry, residents: Sequence[Resident]) -> None:
        """Raises ModelUnavailable when a model has no room even where all that may be unloaded is: with what is missing."""
        stay = [resident for resident in residents if resident.pinned]
        most = self.limit.minus(total(resident.room for resident in stay))
        least = self._split(entry, self._estimates.of(entry).weights)
        if most.fits(least):
            return
        held = "".join(f", of which {it.name} holds {size(it.room)} (pinned)" for it in stay)
        leave = ", ".join(f"{it.name} ({size(it.room)})" for it in residents if not it.pinned and it.room.any)
        even = f", even when {leave} is unloaded" if leave else ""
        raise ModelUnavailable(
            f"{entry.name} has {size(least)} of weights, but models may hold {size(self.limit)} together{held}: "
            f"{size(least.minus(most))} are missing{even}",
            "Raise `limits.memory_bytes`, unpin a model (`llmctl models pin NAME --off`), or take a smaller file.",
        )


def size(room: MemorySize) -> str:
    """`3.2 GiB`, host and GPUs together."""
    return _bytes(room.host + room.gpu)


def _bytes(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if abs(count) >= 2**30 else f"{count / 2**20:,.1f} MiB"
