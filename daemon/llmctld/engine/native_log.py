"""What llama.cpp says while it works: errors kept for our own messages, buffer sizes added up, the rest dropped.

It knows the library's log lines and nothing else; warnings and errors go to stderr as plain lines, for the hub's log.
"""

import re
import sys

import llama_cpp.llama_cpp as lib

WARN, ERROR, CONTINUED = 3, 4, 5
BUFFER = re.compile(r"(KV|RS|compute|output) buffer size = +([\d.]+) MiB")
MIB = 2**20
_kept: list[object] = []
"""The library calls the last callback for as long as the process lives, whoever holds it in Python."""


class NativeLog:
    """Hears the library from now on, until the next one is made."""

    def __init__(self) -> None:
        self.first_error = ""
        """The first is the cause, those after it say only what could not be done because of it."""
        self.buffer_bytes: dict[str, int] = {}
        """Kind (KV, RS, compute, output) -> bytes, since the last `clear`, over all devices."""
        self._level = 0
        self._line = ""
        self._callback = lib.llama_log_callback(self._hear)
        _kept.append(self._callback)
        lib.llama_log_set(self._callback, None)

    def clear(self) -> None:
        self.first_error, self.buffer_bytes = "", {}

    def _hear(self, level: int, text: bytes, _: object) -> None:
        if level != CONTINUED:
            self._level = level
        self._line += text.decode(errors="replace")
        *lines, self._line = self._line.split("\n")
        for line in lines:
            self._keep(line)

    def _keep(self, line: str) -> None:
        if found := BUFFER.search(line):
            kind, size = found.groups()
            self.buffer_bytes[kind] = self.buffer_bytes.get(kind, 0) + int(float(size) * MIB)
        if self._level >= WARN and line.strip():
            sys.stderr.write(line + "\n")
        if self._level == ERROR:
            self.first_error = self.first_error or line.strip()
