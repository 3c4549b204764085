"""Computes the full hashes of model files while the hub is idle.

Runs one low-priority thread that pauses during requests. What a hash is used for is contents.py's matter.
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

from llmctl.hashes import file_identity
from llmctld.models.catalogue.contents import Contents, files_of
from llmctld.models.machine.machine import memory
from llmctld.runtime.log import log

QUIET_S, LOOK_S = 1.0, 0.25
"""Idle after QUIET_S without a request; polled every LOOK_S."""
BLOCK = 2**20
FRESH_NS = 10**9
"""A file modified this recently may change again within one tick of the file system's clock."""


class Hasher:
    """`busy`: whether a request is being served."""

    def __init__(self, contents: Contents, busy: Callable[[], bool]) -> None:
        self._contents, self._busy = contents, busy
        self._go, self._stop = threading.Event(), threading.Event()
        self._thread = ThreadPoolExecutor(1, "hasher", initializer=_step_back)
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stops at once; a partly read file is read again by the next hub."""
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
            except Exception as error:  # noqa: BLE001 - a background loop: the next file may be readable
                log.info("a model could not be hashed", target=target, error=str(error))
            self._contents.settle(target, own, sha256)

    async def _quiet(self) -> None:
        since = time.monotonic()
        while time.monotonic() - since < QUIET_S:
            await asyncio.sleep(LOOK_S)
            if self._busy():
                since = time.monotonic()

    async def _hash(self, target: str, own: str) -> str | None:
        """The SHA-256 of the target; None if it has changed since `own` was taken."""
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
            )  # the exception counts as retrieved if nobody awaits it any more
            while not reading.done():
                (self._go.clear if self._busy() else self._go.set)()
                await asyncio.wait([reading], timeout=LOOK_S)
            known = await reading
            if self._contents.of_file(path) == own:
                self._contents.note(own, known)
        return known

    def _read(self, path: Path) -> str:
        """Runs in the thread. Raises OSError, also if the hub stops or the file changes meanwhile."""
        began, place = time.monotonic(), file_identity(path)
        if 0 <= time.time_ns() - place.changed < FRESH_NS:
            self._stop.wait(FRESH_NS / 1e9)
        crowds_out = place.size > memory().free // 2
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                digest.update(block)
                self._go.wait()
                if self._stop.is_set():
                    raise InterruptedError("the hub stops")
                if crowds_out and hasattr(
                    os, "posix_fadvise"
                ):  # keeps the file from evicting loaded models from the page cache
                    os.posix_fadvise(file.fileno(), 0, file.tell(), os.POSIX_FADV_DONTNEED)
        if file_identity(path) != place:
            raise OSError(f"{path} was written to while it was read")
        log.debug("a file was hashed", file=str(path), bytes=place.size, seconds=round(time.monotonic() - began, 3))
        return digest.hexdigest()


def _step_back() -> None:
    """Gives the thread the lowest CPU and disk priority, where the system supports that per thread."""
    with suppress(OSError, AttributeError, psutil.Error):
        if hasattr(os, "sched_yield") and Path("/proc/self/task").is_dir():
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
            psutil.Process(threading.get_native_id()).ionice(psutil.IOPRIO_CLASS_IDLE)
