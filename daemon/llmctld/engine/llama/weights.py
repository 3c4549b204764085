"""Opens a GGUF file with llama.cpp: checks, weights, metadata."""

import ctypes
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as lib

from llmctld.engine.errors import LoadError
from llmctld.engine.fit import MemoryNeeds, Shape, mebibytes
from llmctld.engine.llama.internals.ggml import Device, tensor_bytes
from llmctld.engine.llama.internals.native_log import NativeLog
from llmctld.engine.llama.internals.offload import Needs, Plan, bytes_on, layer_bytes, make_plan, split_files
from llmctld.engine.llama.internals.repack import set_weight_layout
from llmctld.engine.messages import Load, Loaded

TryOut = Callable[[Any], tuple[Any, Shape]]
"""Makes a context of the wanted shape from a model without weights."""
TABLE = "position_embd.weight"
REFUSED = re.compile(r"alloc|out of memory", re.IGNORECASE)
"""Matches the library's first error when a device had less memory than it reported."""


class Weights(NamedTuple):
    """The library's model and its placement. `host`: bytes in host memory. `on_gpus`: GPU -> bytes. `cells`: share of the KV
    memory in host memory."""

    model: Any
    plan: Plan
    host: int
    on_gpus: dict[str, int]
    cells: float

    def needs(self, cells: MemoryNeeds) -> MemoryNeeds:
        """Host memory for the weights and these cells."""
        cell, near = int(cells.cell * self.cells), int(cells.near * self.cells)
        return replace(cells, fixed=self.host, cell=cell, near=near)

    def buffers(self, log: NativeLog) -> int:
        """Host bytes of a context's buffers."""
        return sum(log.buffers.values()) - bytes_on(log.buffers, _own(self.plan))

    def report(self, loaded: Loaded, log: NativeLog, *others: "Weights") -> None:
        """Report the placement, including the weights of `others` whose buffers are in the same log."""
        gpus = {gpu.name: bytes_on(log.buffers, [gpu]) for each in (self, *others) for gpu in each.plan.gpus}
        own = {gpu.name for gpu in _own(self.plan)}
        for each in (self, *others):
            for name, size in each.on_gpus.items():
                gpus[name] += size
        host = sum(each.host for each in (self, *others)) + self.buffers(log)
        loaded.gpu_bytes = sum(gpus.values())
        loaded.memory_bytes = host + sum(size for name, size in gpus.items() if name in own)
        loaded.layers = self.plan.of or lib.llama_model_n_layer(self.model) + 1
        loaded.gpu_layers = min(self.plan.layers, loaded.layers)
        loaded.devices = [*(name for name, size in gpus.items() if size), "CPU"]
        loaded.notices += [notice for each in (self, *others) for notice in each.plan.notices]


def _own(plan: Plan) -> list[Device]:
    """GPUs with memory of their own."""
    return [gpu for gpu in plan.gpus if not gpu.shared]


def read_weights(load: Load, log: NativeLog, try_out: TryOut, reserve: int = 0) -> Weights:
    """Load the weights. Raises LoadError: no such file, not GGUF, too large, no such device, or the library's reason. `reserve`:
    see offload.make_plan."""
    _check_file(load)
    lib.llama_backend_init()
    plan = make_plan(load, lambda trial: _ask(load, log, trial, try_out), reserve)
    if not _own(plan):
        _check_size(load)
    while True:
        try:
            model = _open(load, log, plan)
            break
        except LoadError:
            if not plan.layers or not REFUSED.search(log.first_error):
                raise
            plan = plan.fewer(load.name, log.first_error)
    plan = replace(plan, layers=log.gpu_layers if plan.gpus else 0, of=log.layers)
    size: int = lib.llama_model_size(model)
    layers = max(1, lib.llama_model_n_layer(model))
    cells = 1 - min(layers, max(0, plan.layers - 1)) / layers if _own(plan) else 1.0
    there = {gpu.name: bytes_on(log.weights, [gpu]) for gpu in plan.gpus}
    return Weights(model, plan, max(0, size - bytes_on(log.weights, _own(plan))), there, cells)


def _ask(load: Load, log: NativeLog, plan: Plan, try_out: TryOut) -> Needs:
    """Ask the library how much it would take, without allocating."""
    model = _open(load, log, plan, empty=True)
    try:
        context, shape = try_out(model)
        lib.llama_free(context)
        compute = [bytes_on(log.buffers, [gpu]) for gpu in plan.gpus]
        return Needs(layer_bytes(load.path, log.layers), log.cell_bytes, compute, shape)
    finally:
        lib.llama_model_free(model)


def _open(load: Load, log: NativeLog, plan: Plan, *, empty: bool = False) -> Any:
    """The library's model. `empty`: without weights, to measure. Raises LoadError."""
    log.begin()
    parameters = lib.llama_model_default_params()
    parameters.n_gpu_layers = plan.layers
    devices = (ctypes.c_void_p * (len(plan.gpus) + 1))(*(gpu.handle for gpu in plan.gpus), None)
    shares = (ctypes.c_float * max(lib.llama_max_devices(), len(plan.shares)))(*plan.shares)
    parameters.devices = ctypes.addressof(devices)
    if plan.shares:
        parameters.tensor_split = shares
    kept = set_weight_layout(parameters, load, bool(plan.layers))
    if empty:
        parameters.no_alloc, parameters.load_mode = True, lib.LLAMA_LOAD_MODE_NONE
    model = lib.llama_model_load_from_file(load.path.encode(), parameters)
    del kept  # the library reads this memory while it reads the file
    if not model:
        raise LoadError(
            f"{load.name}: llama.cpp cannot load {load.path}: {log.first_error or 'no reason given'}",
            "The file may be damaged or truncated: download it again.",
        )
    return model


def check_positions(load: Load, context: int, own: int) -> None:
    """Some models look positions up in a table, and the library aborts past its end. Raises LoadError."""
    if context > own and any(name == TABLE for part in split_files(load.path) for name, _ in tensor_bytes(part)):
        message = f"{load.name}: `context` is {context}, but {load.path} has only {own} positions"
        raise LoadError(message, "Set a smaller `context`.")


def check_kind(load: Load, told: dict[str, str]) -> None:
    """Raises LoadError: the file may have changed since the catalog looked at it."""
    architecture = told.get("general.architecture", "")
    if told.get(f"{architecture}.attention.causal") == "false" or architecture.startswith("t5"):
        raise LoadError(
            f"{load.name} does not generate text: {load.path} contains a model of the type {architecture!r}"
        )


def _check_file(load: Load) -> None:
    path = Path(load.path)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise LoadError(f"{load.name}: cannot read {path}: {error.strerror}", "Check the path.") from error
    if magic != b"GGUF":
        raise LoadError(f"{load.name}: {path} is not a GGUF file (it begins with {magic!r})", "Check the path.")


def _check_size(load: Load) -> None:
    if (size := Path(load.path).stat().st_size) > load.memory_bytes:
        message = f"{load.name} does not fit in memory: the file has {mebibytes(size)}, "
        raise LoadError(message + f"but may use only {mebibytes(load.memory_bytes)}", "Use a smaller file.")


def metadata(model: Any) -> dict[str, str]:
    """The file's metadata, without arrays."""

    def read(call: Any, index: int) -> str:
        size = call(model, index, None, 0) + 1
        buffer = ctypes.create_string_buffer(size)
        call(model, index, buffer, size)
        return buffer.value.decode(errors="replace")

    keys, values = lib.llama_model_meta_key_by_index, lib.llama_model_meta_val_str_by_index
    return {read(keys, index): read(values, index) for index in range(lib.llama_model_meta_count(model))}
