"""Places a model's layers on GPUs: the devices asked for, and as many layers as fit.

It knows sizes and the library's order of layers. It allocates nothing.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import NamedTuple

import llama_cpp.llama_cpp as lib

from llmctl.errors import counted
from llmctld.engine.errors import LoadError
from llmctld.engine.fit import Shape, gpu_room, mebibytes
from llmctld.engine.llama.internals.ggml import Device, devices, tensor_bytes
from llmctld.engine.messages import Load

UNKNOWN = 2**62
"""Room on a device that does not report its memory: the library must find out."""
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


@dataclass(frozen=True)
class Plan:
    """The last `layers` layers are on `gpus`, in these `shares`. `of`: total number once known, the output included. `retained`:
    streams that fit; None: as many as wanted."""

    gpus: list[Device] = field(default_factory=list)
    layers: int = 0
    of: int = 0
    shares: list[float] = field(default_factory=list)
    retained: int | None = None
    notices: list[str] = field(default_factory=list)

    def fewer(self, name: str, why: str) -> "Plan":
        """The next plan to try when memory that seemed free could not be allocated."""
        told = f"{name}: gpu_layers {self.layers} -> {self.layers // 2}, because the GPU refused memory ({why})"
        return replace(self, layers=self.layers // 2, notices=[*self.notices, told])


class Needs(NamedTuple):
    """Bytes: weights of each layer (the output last), KV memory of all layers in this shape, and work buffers per GPU."""

    weights: list[int]
    cells: int
    compute: list[int]
    shape: Shape

    def sizes(self, retained: int) -> list[int]:
        """Bytes per layer with this number of retained streams."""
        layers = len(self.weights) - 1
        each = self.cells * (self.shape.slots + retained) // self.shape.streams // max(layers, 1)
        return [size + each for size in self.weights[:-1]] + self.weights[-1:]


def make_plan(load: Load, ask: Callable[[Plan], Needs], reserve: int = 0) -> Plan:
    """All layers asked for, or as many as fit. `ask` tells what a plan would take. `reserve`: GPU bytes for something else.
    Raises LoadError for a device that does not exist."""
    gpus = chosen_gpus(load)
    if not gpus or load.gpu_layers == 0:
        return Plan(notices=no_gpu_notice(load))
    if len(load.tensor_split) > len(gpus):
        there = ", ".join(f"{gpu.word} ({gpu.name})" for gpu in gpus)
        shares = counted(len(load.tensor_split), "share")
        message = f"{load.name}: tensor_split has {shares}, but the number of GPUs is {len(gpus)}: {there}"
        raise LoadError(message, "Give one share per GPU, or omit `tensor_split`.")
    needs = ask(Plan(gpus, load.gpu_layers, shares=_shares(load, [gpu.free for gpu in gpus])))
    rooms = [gpu_room(load.gpu_memory_bytes, gpu.total, gpu.free) if gpu.total else UNKNOWN for gpu in gpus]
    return arrange(load, gpus, needs, [max(0, room - reserve // len(gpus)) for room in rooms])


def chosen_gpus(load: Load) -> list[Device]:
    """The GPUs to use. Raises LoadError that lists the devices if one does not exist."""
    if load.device == "cpu":
        return []
    there = devices()
    found = [gpu for gpu in there if load.device in ("auto", gpu.word, gpu.word.partition(":")[0])]
    if not found and load.device != "auto":
        hint = f"Available: {', '.join(['cpu', *(gpu.word for gpu in there)])}."
        raise LoadError(f"{load.name}: llama.cpp finds no device {load.device}", hint + _no_support())
    return found


def _no_support() -> str:
    return "" if lib.llama_supports_gpu_offload() else " This build of llama-cpp-python has no GPU support."


def no_gpu_notice(load: Load) -> list[str]:
    """Notice that layers were asked for but there is no GPU."""
    if load.gpu_layers <= 0 or load.device == "cpu":
        return []
    why = _no_support().strip(" .") or "No GPU was found"
    return [f"{load.name}: `gpu_layers` is {load.gpu_layers}, but the model runs on the CPU: {why[0].lower()}{why[1:]}"]


def layer_bytes(path: str, layers: int) -> list[int]:
    """Weight bytes per layer; the last entry is the output, which may share weights with the input."""
    found = [0] * layers
    tied, own = 0, False
    for name, size in (tensor for part in split_files(path) for tensor in tensor_bytes(part)):
        word, _, rest = name.partition(".")
        if word == "blk":
            found[min(int(rest.partition(".")[0]), layers - 1)] += size
        elif word.startswith("output"):
            found[-1] += size
            own |= name == "output.weight"
        elif word == "token_embd":
            tied += size
    found[-1] += 0 if own else tied
    return found


def split_files(path: str) -> Iterable[str]:
    """Files of a split model, found by name as the library does."""
    if (found := PART.search(path)) is None:
        return [path]
    return [f"{path[: found.start()]}-{part:05}-of-{found[2]}.gguf" for part in range(1, int(found[2]) + 1)]


def _shares(load: Load, otherwise: Sequence[float]) -> list[float]:
    """Share of each GPU: from the settings, else by free memory."""
    if load.tensor_split:
        return [*load.tensor_split, *[0.0] * (len(otherwise) - len(load.tensor_split))]
    return [float(room) for room in otherwise] if any(otherwise) else [1.0] * len(otherwise)


def arrange(load: Load, gpus: list[Device], needs: Needs, rooms: list[int]) -> Plan:
    """Reduce retained streams first (they only save work), then move layers to the CPU, from the first on."""
    shares = _shares(load, rooms)
    most = len(needs.weights)
    asked = most if load.gpu_layers < 0 else min(load.gpu_layers, most)
    wanted = needs.shape.retained

    def fits(layers: int, retained: int) -> bool:
        taken = bytes_per_gpu(needs.sizes(retained), layers, shares)
        return all(
            not size or size + work <= room for size, work, room in zip(taken, needs.compute, rooms, strict=True)
        )

    choices = [*((asked, retained) for retained in range(wanted, -1, -1)), *((n, 0) for n in range(asked - 1, 0, -1))]
    layers, retained = next((choice for choice in choices if fits(*choice)), (0, wanted))
    if (layers, retained) == (asked, wanted):
        return Plan(gpus, layers, shares=shares)
    changes = [f"gpu_layers {asked} -> {layers}"] if layers != asked else []
    changes += [f"retained {wanted} -> {retained}"] if retained != wanted else []
    needed = sum(bytes_per_gpu(needs.sizes(wanted), asked, shares)) + sum(needs.compute)
    told = f"it needs about {mebibytes(needed)} on the GPU, but may use only {mebibytes(sum(rooms))}"
    notices = [f"{load.name}: {', '.join(changes)}, because {told}"]
    return Plan(gpus if layers else [], layers, shares=shares if layers else [], retained=retained, notices=notices)


def bytes_per_gpu(sizes: Sequence[int], layers: int, shares: Sequence[float]) -> list[int]:
    """Bytes on each GPU if they hold the last `layers` layers in the library's order."""
    ends = [end / sum(shares) for end in accumulate(shares)]
    found = [0] * len(shares)
    for index, size in enumerate(sizes[len(sizes) - layers :]):
        found[min(bisect_right(ends, index / layers), len(shares) - 1)] += size
    return found


def bytes_on(buffers: dict[str, int], gpus: Iterable[Device]) -> int:
    """Bytes of the buffers on these GPUs, matched by name; pinned host memory is not included."""
    names = [re.compile(re.escape(gpu.buffer) + r"(?!\d)") for gpu in gpus]
    return sum(size for buffer, size in buffers.items() if any(name.match(buffer) for name in names))
