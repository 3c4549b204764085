"""The watch over a load: bytes read and memory filled are progress; a process that does neither is given up."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from llmctld.engine.messages import Load
from llmctld.models.engines.load_watch import Counters, NoProgressError, advance, counters_of, with_progress
from llmctld.models.engines.worker import Worker

from llmctl.errors import ModelUnavailable
from tests.hub.scene import children, in_loop, until

MIB = 2**20
OBEDIENT = (
    "import sys; kept = []\n"
    "for line in sys.stdin:\n"
    "  if line == 'read\\n': open(sys.argv[1], 'rb').read(1 << 22)\n"
    "  if line == 'fill\\n': kept.append(b'x' * (1 << 22))\n"
    "  print('done', flush=True)\n"
)


class Worked:
    """A process that reads or fills 4 MiB when it is told to."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(4 * MIB))
        self.process = subprocess.Popen(
            [sys.executable, "-c", OBEDIENT, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.do("begin")

    def do(self, order: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@pytest.fixture
def worked(tmp_path: Path) -> Iterator[Worked]:
    made = Worked(tmp_path / "large")
    with made.process:
        yield made
        made.process.kill()


def test_reading_and_filling_memory_are_progress_and_waiting_is_not(worked: Worked) -> None:
    marks: dict[int, Counters] = {}
    assert advance(marks, counters_of(worked.process.pid)), "it has started"
    for order, progress in (("wait", False), ("read", True), ("wait", False), ("fill", True), ("wait", False)):
        worked.do(order)
        assert advance(marks, counters_of(worked.process.pid)) == progress, order


def test_memory_that_is_freed_and_filled_again_is_no_progress() -> None:
    marks: dict[int, Counters] = {}
    assert advance(marks, {1: Counters(0, 9 * MIB)})
    assert not advance(marks, {1: Counters(0, 2 * MIB)})
    assert not advance(marks, {1: Counters(0, 9 * MIB)})
    assert advance(marks, {1: Counters(0, 10 * MIB)})
    assert advance(marks, {1: Counters(0, 10 * MIB), 2: Counters(5 * MIB, 0)}), "a child process counts"


async def report() -> str:
    return "report"


@in_loop
async def test_a_process_without_progress_is_given_up_with_its_counters(worked: Worked) -> None:
    with pytest.raises(NoProgressError) as caught:
        await with_progress(asyncio.Event().wait(), worked.process.pid, 0.2)
    assert caught.value.filled > MIB
    assert await with_progress(report(), worked.process.pid, 0.2) == "report"


@in_loop
async def test_a_load_without_progress_is_ended_with_the_values(tmp_path: Path) -> None:
    load = Load(name="e", backend="echo", path="echo", threads=1, memory_bytes=2**30, load_ms=600_000)
    worker = Worker(load, tmp_path, load_timeout=0.5)
    with pytest.raises(ModelUnavailable, match=r"the load of e made no progress for 0.5 s and was ended: .* MiB"):
        await worker.start()
    await until(lambda: not children())
    assert not os.path.exists(f"/proc/{worker.pid}")
