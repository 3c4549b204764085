"""A model with all, half and none of its layers on a GPU: what it generates a second, and what lies where."""

import sys
from pathlib import Path

from llmctld.models.machine.machine import gpus

from tests.bench.measure import Number
from tests.e2e.house import House

TOKENS = 128


def measure(home: House, model: Path) -> list[Number]:
    """Nothing, and words on stderr, where no GPU is to be had."""
    home.ok("models", "add", "gpu-all", model)
    home.ok("models", "load", "gpu-all")
    line = home.ps("gpu-all")
    if not line["gpu_layers"]:
        found = ", ".join(gpu.name for gpu in gpus()) or "none"
        print(f"no layer went to a GPU (NVIDIA's here: {found}); all ran on {line['devices']}", file=sys.stderr)
        return []
    numbers = row(home, "gpu-all")
    for name, layers in (("gpu-half", line["layers"] // 2), ("gpu-none", 0)):
        home.ok("models", "add", name, model, f"--set=gpu_layers={layers}")
        numbers += row(home, name)
    return numbers


def row(home: House, name: str) -> list[Number]:
    """The first answer is thrown away: kernels are made for it. Then the model goes, to leave the next one its room."""
    for _ in range(2):
        answer = home.ok(
            "ask", "Once upon a time", "-m", name, "--raw", "--no-cache", "--json", "--no-stream", "--temperature", 0,
            "--max-tokens", TOKENS,
        ).last  # fmt: skip
    line = home.ps(name)
    home.ok("models", "unload", name)
    where = f"{line['gpu_layers']} of {line['layers']} layers on {', '.join(line['devices'])}"
    note = f"{where}, {line['gpu_bytes'] / 2**20:,.0f} MiB on GPUs"
    return [Number(f"{name}: generated", answer["timings"]["tokens_per_second"], "tokens/s", None, note)]
