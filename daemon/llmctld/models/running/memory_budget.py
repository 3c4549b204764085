"""The memory budget: what models may use together, what each one needs, and what is left.

Combines the machine, the limits and the estimates; load_plan.py decides what is loaded.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from llmctl.config import HOST_SHARE, Limits, ModelEntry
from llmctl.errors import ModelUnavailable
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.target import LLAMA, TORCH, TRANSFORMERS
from llmctld.models.engines.handle import ModelHandle
from llmctld.models.machine import machine
from llmctld.models.memory.estimate import Estimates
from llmctld.models.running.load_plan import MemorySize, Resident, total

GPU_SHARE = 0.9
"""Share of each GPU's memory for models if no limit is set."""
ON_GPU = (LLAMA, TORCH, TRANSFORMERS)
"""Backends that use a GPU if there is one and the settings allow it."""
FREE_SHARE = 0.8
"""Share of the free host memory that a load may use."""
GUIDE_BYTES = 64 * 2**20
"""What the built-in guide may use, beside the budget: it neither waits for memory nor unloads another model."""


class MemoryBudget:
    def __init__(self, catalog: Catalog, estimates: Estimates, limits: Limits) -> None:
        self._catalog, self._estimates, self._limits = catalog, estimates, limits

    @cached_property
    def limit(self) -> MemorySize:
        """Memory for all loaded models together."""
        return limit_of(self._limits)

    def could_hold(self, weights: int) -> bool:
        """Whether weights of so many bytes fit if nothing else is loaded, on the GPUs and in host memory together."""
        return weights <= self.limit.host + self.limit.gpu

    def needs(self, entry: ModelEntry) -> MemorySize:
        """As measured at the last load with these settings, else as estimated. What exceeds the GPUs counts as host
        memory. The built-in guide does not count.
        """
        if self._catalog.is_guide(entry):
            return MemorySize()
        measured = self._estimates.measured(entry)
        return self._split(entry, self._estimates.of(entry).total if measured is None else measured)

    def taken(self, entry: ModelEntry, worker: ModelHandle) -> MemorySize:
        """Memory that a loaded process uses, as its engine reports it. Recorded for the next load."""
        assert worker.loaded is not None
        memory, gpu = worker.loaded.memory_bytes, worker.loaded.gpu_bytes
        self._estimates.note(entry, memory)
        return MemorySize() if self._catalog.is_guide(entry) else MemorySize(memory - gpu, gpu)

    def kind(self, paths: Sequence[Path]) -> tuple[str, str]:
        """Tensor types in the files (F32, which is in every file, only if there is no other), and architectures."""
        types, architectures = self._estimates.types(paths), self._estimates.architectures(paths)
        return " ".join(sorted(types - {"F32"} or types)), " ".join(architectures)

    def _split(self, entry: ModelEntry, amount: int) -> MemorySize:
        settings = self._catalog.settings(entry)
        on_gpu = entry.backend in ON_GPU and settings.gpu_layers != 0 and settings.device != "cpu"
        gpu = min(amount, self.limit.gpu) if on_gpu else 0
        return MemorySize(amount - gpu, gpu)

    def left(self, entry: ModelEntry, residents: Iterable[Resident]) -> MemorySize:
        """Memory for one more model: within the budget, and within what is free now."""
        if self._catalog.is_guide(entry):
            return MemorySize(GUIDE_BYTES)
        room = self.limit.minus(total(resident.room for resident in residents)).positive()
        return MemorySize(min(room.host, int(machine.memory().free * FREE_SHARE)), room.gpu)

    def check(self, entry: ModelEntry, residents: Sequence[Resident]) -> None:
        """Raises ModelUnavailable, with the bytes missing, if the model does not fit even when all unpinned models are
        unloaded.
        """
        if self._catalog.is_guide(entry):
            return
        stay = [resident for resident in residents if resident.pinned]
        most = self.limit.minus(total(resident.room for resident in stay))
        least = self._split(entry, self._estimates.of(entry).weights)
        if most.fits(least):
            return
        held = "".join(f", of which {it.name} uses {size(it.room)} (pinned)" for it in stay)
        leave = ", ".join(f"{it.name} ({size(it.room)})" for it in residents if not it.pinned and it.room.any)
        even = f", even if {leave} is unloaded" if leave else ""
        raise ModelUnavailable(
            f"the weights of {entry.name} need {size(least)}, but all models together may use {size(self.limit)}{held}: "
            f"{size(least.minus(most))} are missing{even}",
            "Raise `limits.memory_bytes`, unpin a model (`llmctl models pin NAME --off`), or use a smaller file.",
        )


def limit_of(limits: Limits) -> MemorySize:
    """Memory for all loaded models together, on this machine with these limits."""
    host, each = limits.memory_bytes, limits.gpu_memory_bytes
    gpus = (int(gpu.total * GPU_SHARE) if each is None else min(each, gpu.total) for gpu in machine.gpus())
    return MemorySize(int(machine.memory().total * HOST_SHARE) if host is None else host, sum(gpus))


def size(room: MemorySize) -> str:
    """Host and GPU memory together, as `3.2 GiB`."""
    return _bytes(room.host + room.gpu)


def _bytes(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if abs(count) >= 2**30 else f"{count / 2**20:,.1f} MiB"
