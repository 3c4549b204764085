"""The energy that the machine uses, shared out between the requests that compute at the same time.

Reads the counters of Linux's powercap (RAPL) and of NVIDIA's driver where they can be read; a machine without them has no meter.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
FOLDER = "LLMCTL_POWERCAP"
"""Environment variable of the hub: another folder, for tests."""
STALE_S = 0.05
"""Counters are read again after this time: RAPL's change every millisecond, and reading costs up to 0.1 ms."""

Counter = Callable[[], float]
"""Joules since some moment; never falls."""


class EnergyMeter:
    """Divides each piece of energy equally between the requests that an engine had while it was used, waiting ones included."""

    def __init__(self, counters: Iterable[Counter] = (), now: Callable[[], float] = time.monotonic) -> None:
        self._counters, self._now = list(counters), now
        self._per_request = 0.0
        """Energy per request, summed since the hub started."""
        self._active = 0
        self._read_at, self._last = float("-inf"), 0.0

    def begin(self) -> Callable[[], float | None]:
        """Call what it returns, once, when the request ends: its joules, None where nothing is measured."""
        if not self._counters:
            return lambda: None
        self._advance()
        self._active += 1
        began = self._per_request

        def end() -> float:
            self._advance()
            self._active -= 1
            return self._per_request - began

        return end

    def _advance(self) -> None:
        if not self._active and self._now() - self._read_at < STALE_S:
            return
        total = sum(counter() for counter in self._counters)
        if self._active:
            self._per_request += max(0.0, total - self._last) / self._active
        self._read_at, self._last = self._now(), total


def counters_of(environ: Mapping[str, str]) -> list[Counter]:
    """The counters of this machine that can be read: one per processor package, one per NVIDIA GPU."""
    folder = Path(environ.get(FOLDER) or POWERCAP)
    packages = (rapl(zone) for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1)
    return [counter for counter in packages if counter is not None] + nvidia()


def rapl(zone: Path) -> Counter | None:
    """The counter of a powercap zone, which wraps at its range. None if it cannot be read: mostly only root may."""
    file = zone / "energy_uj"
    try:
        wraps_at = int((zone / "max_energy_range_uj").read_text())
        last = int(file.read_text())
    except (OSError, ValueError):
        return None
    joules = 0.0

    def read() -> float:
        nonlocal last, joules
        try:
            value = int(file.read_text())
        except (OSError, ValueError):
            return joules
        joules += ((value - last) if value >= last else (value - last + wraps_at)) / 1e6
        last = value
        return joules

    return read


def nvidia() -> list[Counter]:
    """The counters of NVIDIA GPUs (since Volta), if the package `nvidia-ml-py` is installed."""
    try:
        import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]

        pynvml.nvmlInit()
        devices = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        for device in devices:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
    except Exception:  # noqa: BLE001 - no package, no driver, or a GPU that does not count
        return []
    return [_of_gpu(pynvml, device) for device in devices]


def _of_gpu(library: Any, device: Any) -> Counter:
    return lambda: float(library.nvmlDeviceGetTotalEnergyConsumption(device)) / 1e3
