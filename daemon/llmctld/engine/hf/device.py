"""Chooses the torch device of a model: the one asked for, or the best there is."""

import torch

from llmctld.engine.errors import LoadError
from llmctld.engine.fit import gpu_room
from llmctld.engine.messages import Load


def choose(load: Load) -> torch.device:
    """Raises LoadError that lists the devices if the wanted one does not exist."""
    if load.gpu_layers == 0 or load.device == "cpu":
        return torch.device("cpu")
    there = present()
    if load.device == "auto":
        return torch.device(there[:2][-1])
    for name in there:
        if load.device in (name, name.partition(":")[0]):
            return torch.device(name)
    raise LoadError(f"{load.name}: torch finds no device {load.device}", f"Available: {', '.join(there)}.")


def present() -> list[str]:
    """Devices: the CPU first, then faster ones: `cuda:0`, `cuda:1`, `mps:0`."""
    if not torch.accelerator.is_available():
        return ["cpu"]
    kind = torch.accelerator.current_accelerator()
    return ["cpu", *(f"{kind}:{number}" for number in range(torch.accelerator.device_count()) if kind)]


def room(load: Load, device: torch.device) -> int:
    """Bytes that the model may take on the device; a Mac's GPU shares the host memory."""
    if device.type in ("cpu", "mps"):
        return load.memory_bytes
    free, total = getattr(torch, device.type).mem_get_info(device)
    return gpu_room(load.gpu_memory_bytes, total, free)


def notices(load: Load, device: torch.device) -> list[str]:
    """Settings that cannot be honoured."""
    if load.gpu_layers <= 0 or device.type != "cpu" or load.device == "cpu":
        return []
    return [f"{load.name}: `gpu_layers` is {load.gpu_layers}, but torch finds no GPU; the model runs on the CPU"]
