"""What llama.cpp says while it works: errors kept for our own messages, buffer sizes added up, the rest dropped.

It knows the library's log lines and nothing else; warnings and errors go to stderr as plain lines, for the hub's log.
"""

import re
import sys

import llama_cpp.llama_cpp as lib

WARN, ERROR, CONTINUED = 3, 4, 5
BUFFER = re.compile(r"(\S+) (model|KV|RS|compute|output) buffer size = +([\d.]+) MiB")
LAYERS = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
CELLS = re.compile(r"llama_(?:kv_cache|memory)\w*: size = +([\d.]+) MiB(?: \( *(\d+) cells)?")
"""What a KV memory (or recurrent state) takes, and its cells in a stream."""
MIB = 2**20
_kept: list[object] = []
"""The library calls the last callback for as long as the process lives, whoever holds it in Python."""


class NativeLog:
    """Hears the library from now on, until the next one is made.

    `weights`: buffer -> bytes of the model that was read last; those of the machine overlap where the file is mapped. `buffers`
    (the rest of memory) and `first_error` are since the last `clear`.
    """

    def __init__(self) -> None:
        self.first_error = ""
        """The first is the cause, those after it say only what could not be done because of it."""
        self.buffers: dict[str, int] = {}
        self.kinds: dict[str, int] = {}
        """Kind (KV, RS, compute, output) -> bytes, over all devices."""
        self.weights: dict[str, int] = {}
        self.caches: list[tuple[int, int]] = []
        """Of each KV memory of a context its bytes, and the cells that a stream has there."""
        self.gpu_layers = self.layers = 0
        """Of the model that was read last; 0 of 0 where the library was built for no GPU."""
        self._level = 0
        self._line = ""
        self._callback = lib.llama_log_callback(self._hear)
        _kept.append(self._callback)
        lib.llama_log_set(self._callback, None)

    def clear(self) -> None:
        self.first_error, self.buffers, self.kinds, self.caches = "", {}, {}, []

    @property
    def cell_bytes(self) -> int:
        """Of all KV memory, also where only the sizes are asked for."""
        return sum(size for size, _ in self.caches)

    def begin(self) -> None:
        """Another model is read."""
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
