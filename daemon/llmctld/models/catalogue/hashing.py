"""Reads models' files to their end while nobody asks for anything, for the hashes that contents.py wants.

It knows a thread of low priority, and when to hold it still; what a hash means is not its business.
"""

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

from llmctl.hashes import place_of
from llmctld.models.catalogue.contents import Contents, files_of
from llmctld.models.machine.machine import memory
from llmctld.watch import log

QUIET_S, LOOK_S = 1.0, 0.25
"""Idle is who has had no request for so long; how often that is looked at."""
BLOCK = 2**20
FRESH_NS = 10**9
"""A file that was written so lately may be written again within one tick of the file system's clock."""


class Hasher:
    """`busy` says whether somebody waits for an answer."""

    def __init__(self, contents: Contents, busy: Callable[[], bool]) -> None:
        self._contents, self._busy = contents, busy
        self._go, self._stop = threading.Event(), threading.Event()
        self._thread = ThreadPoolExecutor(1, "hasher", initializer=_step_back)
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """What is half read is given up."""
        self._stop.set()
        self._go.set()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()

    async def _run(self) -> None:
        while True:
            await self._contents.work.wait()
            await self._quiet()
            target, own = next(iter(self._contents.waiting.items()))
            sha256 = None
            try:
                sha256 = await self._hash(target, own)
            except Exception as error:  # noqa: BLE001 - a background loop: the next file may be read
                log.info("a model could not be hashed", target=target, error=str(error))
            self._contents.settle(target, own, sha256)

    async def _quiet(self) -> None:
        since = time.monotonic()
        while time.monotonic() - since < QUIET_S:
            await asyncio.sleep(LOOK_S)
            if self._busy():
                since = time.monotonic()

    async def _hash(self, target: str, own: str) -> str | None:
        """None: it has changed meanwhile, or already before."""
        lines, names = [], files_of(target)
        for name, path in names:
            lines.append(f"{await self._of_file(path)}  {name}\n")
        if self._contents.own(target) != own:
            return None
        return lines[0].split()[0] if len(names) == 1 else hashlib.sha256("".join(lines).encode()).hexdigest()

    async def _of_file(self, path: Path) -> str:
        own = self._contents.of_file(path)
        known = self._contents.full(own)
        if known is None:
            reading = asyncio.get_running_loop().run_in_executor(self._thread, self._read, path)
            reading.add_done_callback(
                lambda done: done.cancelled() or done.exception()
            )  # heard, should nobody wait any more
            while not reading.done():
                (self._go.clear if self._busy() else self._go.set)()
                await asyncio.wait([reading], timeout=LOOK_S)
            known = await reading
            if self._contents.of_file(path) == own:
                self._contents.note(own, known)
        return known

    def _read(self, path: Path) -> str:
        """In the thread. Raises OSError, also when it is to end or the file changes meanwhile."""
        began, place = time.monotonic(), place_of(path)
        if 0 <= time.time_ns() - place.changed < FRESH_NS:
            self._stop.wait(FRESH_NS / 1e9)
        crowds_out = place.size > memory().free // 2
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                digest.update(block)
                self._go.wait()
                if self._stop.is_set():
                    raise InterruptedError("the hub ends")
                if crowds_out and hasattr(os, "posix_fadvise"):  # else it would push what models read out of memory
                    os.posix_fadvise(file.fileno(), 0, file.tell(), os.POSIX_FADV_DONTNEED)
        if place_of(path) != place:
            raise OSError(f"{path} was written to while it was read")
        log.debug("a file was hashed", file=str(path), bytes=place.size, seconds=round(time.monotonic() - began, 3))
        return digest.hexdigest()


def _step_back() -> None:
    """This thread gets what nobody else wants, of processors and disks, where the system can say so for one thread."""
    with suppress(OSError, AttributeError, psutil.Error):
        if hasattr(os, "sched_yield") and Path("/proc/self/task").is_dir():
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
            psutil.Process(threading.get_native_id()).ionice(psutil.IOPRIO_CLASS_IDLE)
