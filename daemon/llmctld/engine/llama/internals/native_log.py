"""Reads llama.cpp's log: keeps errors for our messages, adds up buffer sizes, drops the rest.

Warnings and errors also go to stderr, for the hub's log.
"""

import re
import sys

import llama_cpp.llama_cpp as lib

WARN, ERROR, CONTINUED = 3, 4, 5
BUFFER = re.compile(r"(\S+) (model|KV|RS|compute|output) buffer size = +([\d.]+) MiB")
LAYERS = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
CELLS = re.compile(r"llama_(?:kv_cache|memory)\w*: size = +([\d.]+) MiB(?: \( *(\d+) cells)?")
"""Size of a KV memory (or recurrent state), and its cells per stream."""
MIB = 2**20
_kept: list[object] = []
"""Keeps the last callback alive: the library may call it at any time."""


class NativeLog:
    """Receives the library's log until the next instance is made.

    `weights`: buffer -> bytes of the last model read; host buffers overlap if the file is mapped. `buffers` (other memory) and
    `first_error` count since the last `clear`.
    """

    def __init__(self) -> None:
        self.first_error = ""
        """The first error is the cause; later ones are its consequences."""
        self.buffers: dict[str, int] = {}
        self.kinds: dict[str, int] = {}
        """Kind (KV, RS, compute, output) -> bytes over all devices."""
        self.weights: dict[str, int] = {}
        self.caches: list[tuple[int, int]] = []
        """For each KV memory of a context: bytes, and cells per stream."""
        self.gpu_layers = self.layers = 0
        """Of the last model read; 0 of 0 in a build without GPU support."""
        self._level = 0
        self._line = ""
        self._callback = lib.llama_log_callback(self._hear)
        _kept.append(self._callback)
        lib.llama_log_set(self._callback, None)

    def clear(self) -> None:
        self.first_error, self.buffers, self.kinds, self.caches = "", {}, {}, []

    @property
    def cell_bytes(self) -> int:
        """Bytes of all KV memory, also when only sizes are asked for."""
        return sum(size for size, _ in self.caches)

    def begin(self) -> None:
        """Start reading another model."""
        self.clear()
        self.weights, self.gpu_layers, self.layers = {}, 0, 0

    def _hear(self, level: int, text: bytes, _: object) -> None:
        if level != CONTINUED:
            self._level = level
        self._line += text.decode(errors="replace")
        *lines, self._line = self._line.split("\n")
        for line in lines:
            self._keep(line)

    def _keep(self, line: str) -> None:
        if found := BUFFER.search(line):
            name, kind, size = found[1], found[2], int(float(found[3]) * MIB)
            sizes = self.weights if kind == "model" else self.buffers
            sizes[name] = sizes.get(name, 0) + size
            if kind != "model":
                self.kinds[kind] = self.kinds.get(kind, 0) + size
        elif found := LAYERS.search(line):
            self.gpu_layers, self.layers = int(found[1]), int(found[2])
        elif found := CELLS.search(line):
            self.caches.append((int(float(found[1]) * MIB), int(found[2] or 0)))
        if self._level >= WARN and line.strip():
            sys.stderr.write(line + "\n")
        if self._level == ERROR:
            self.first_error = self.first_error or line.strip()
