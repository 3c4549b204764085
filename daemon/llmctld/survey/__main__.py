"""`python -m llmctld.survey [--measure]`: the memory that models may use here, and how fast it is read; prints a line of JSON.

The bandwidth is measured once for each processor, number of cores and build of llama.cpp, then kept in the state folder;
`--measure` measures again. Starts no hub and loads no model.
"""

import argparse
import datetime
import os
import subprocess
import sys
from contextlib import suppress
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from llmctl import config
from llmctl.errors import LlmctlError
from llmctl.files import write_whole
from llmctl.interpreter import module
from llmctl.paths import Paths, find_paths, make_private
from llmctl.suggestions import Bandwidth, read_bandwidth
from llmctld.models.machine.build import build, processor
from llmctld.models.machine.environment import for_engine
from llmctld.models.machine.machine import memory
from llmctld.models.machine.processors import cores
from llmctld.models.running.memory_budget import limit_of
from llmctld.runtime.lines import say
from llmctld.runtime.log import warn_on_stderr

MATRIX_BYTES = 256 * 2**20
"""Bytes that are read in turn; more than the caches of most processors hold."""
LIMIT_S = 60.0
METHOD = "rows"
"""Changes when another way of measuring gives other numbers: then stored ones no longer hold."""


class Found(NamedTuple):
    """What is printed. Bytes of memory for models; bytes per second (None: unknown), and seconds per row of a matrix, in host
    memory; `measured`: on which day."""

    host: int
    gpu: int
    host_rate: float | None
    gpu_rate: float | None
    row_s: float
    measured: str | None


class DeviceBandwidth(msgspec.Struct):
    """A line of the measuring process. `shared`: a GPU that uses host memory."""

    where: str
    rate: float
    shared: bool = False
    row_s: float = 0.0


def survey(paths: Paths, again: bool) -> Found:
    limit = limit_of(config.load(paths.config_file).limits)
    rates = bandwidth(paths, again)
    if rates is None:
        return Found(limit.host, 0, None, None, 0.0, None)
    gpu = limit.gpu if rates.gpu else 0  # this build of llama.cpp may not use it
    return Found(limit.host, gpu, rates.host, rates.gpu, rates.row_s, rates.measured.isoformat())


def bandwidth(paths: Paths, again: bool) -> Bandwidth | None:
    """As measured before on this machine, else now. None if llama.cpp cannot be used."""
    key = blake2b(f"{processor()} {cores()} {build()} {METHOD}".encode(), digest_size=16).hexdigest()
    known = read_bandwidth(paths.bandwidth)
    if known is not None and known.key == key and not again:
        return known
    found = _rates(measure())
    if found.host is None:
        return None
    rates = Bandwidth(datetime.date.today(), key, found.host, found.gpu, found.row_s)
    with suppress(OSError, LlmctlError):  # then it is measured again the next time
        write_whole(make_private(paths.state) / paths.bandwidth.name, msgspec.json.encode(rates))
    return rates


class MachineRates(NamedTuple):
    """`row_s`: of host memory."""

    host: float | None
    gpu: float | None
    row_s: float


def _rates(lines: list[DeviceBandwidth]) -> MachineRates:
    """A GPU that shares the host's memory reads that memory faster than the processor."""
    fastest = max(
        (line for line in lines if line.where == "host" or line.shared), key=lambda line: line.rate, default=None
    )
    gpu = [line.rate for line in lines if line.where == "gpu" and not line.shared]
    if fastest is None:
        return MachineRates(None, max(gpu, default=None), 0.0)
    return MachineRates(fastest.rate, max(gpu, default=None), fastest.row_s)


def measure() -> list[DeviceBandwidth]:
    """Runs the measurement in a process of its own, with an engine's environment; it ends early if a kernel crashes."""
    size = min(MATRIX_BYTES, memory().free // 4)
    command = module("llmctld.engine.llama.internals.bandwidth", str(cores()), str(size))
    try:
        child = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=for_engine(os.environ), timeout=LIMIT_S,
            check=False, cwd="/",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return []
    found = []
    for line in child.stdout.splitlines():
        with suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(line, type=DeviceBandwidth))
    return found


def main() -> int:
    """Returns 0, or the status of the error, which is then the only line."""
    warn_on_stderr()
    parser = argparse.ArgumentParser(prog="llmctld.survey")
    parser.add_argument("--measure", action="store_true")
    try:
        line = survey(find_paths(), parser.parse_args().measure)._asdict()
        status = 0
    except LlmctlError as error:
        line, status = {"error": error.fields()}, error.status
    say(line)
    return status


if __name__ == "__main__":
    sys.exit(main())
