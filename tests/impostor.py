"""A program of another user that sits at a hub's socket: it completes ZeroMQ's handshake and tells what it is sent.

It needs root, and knows nothing of llmctl.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

OTHER = 65534
"""The user nobody."""
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="playing another user needs root")
PROGRAM = """
import os, signal, sys, zmq
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the end of the context may wait for the socket for ever
router = zmq.Context().socket(zmq.ROUTER)
router.linger = 0
router.sndhwm = 0
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
os.umask(0)
router.bind("ipc://" + sys.argv[1])
print("ready", flush=True)
while True:
    # a signal that comes just before a wait without a limit is not heard until the next message
    if router.poll(50):
        print(router.recv_multipart(), flush=True)
"""


class Impostor:
    """It runs until the test ends. `path` is its socket."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), str(OTHER)], stdout=subprocess.PIPE, text=True
        )
        self._told = ""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> str:
        """Everything that it was sent."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._told = self._process.communicate()[0]
        return self._told


@contextmanager
def impostor(path: Path) -> Iterator[Impostor]:
    """An impostor at `path`, whose folder must let everybody write."""
    made = Impostor(path)
    try:
        yield made
    finally:
        made.end()
