"""Saved sequence states outside the KV memory: in host memory, then (large ones, or at the end) in files.

It knows bytes, the tokens they belong to and checksums, not what a state consists of.
"""

import contextlib
import hashlib
import os
import struct
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from llmctld.engine.streams.checkpoints import NO_WINDOW, Window
from llmctld.engine.streams.radix import Radix, Tokens

HEAD = struct.Struct("<8sI32s32s")
"""Magic, number of tokens, blake2b-256 of the tokens and of the state; then the tokens as int32, then the state."""
MAGIC = b"LLMCTLS1"
SUFFIX, PART = ".state", ".part"
LARGE = 4
"""A state larger than 1/LARGE of the memory limit goes to disk at once."""


class Damaged(Exception):
    """A file does not hold what was written; it has been removed."""


@dataclass
class Entry:
    """`data`: the state while in memory. `path`: its file, once there is one. `size` in bytes.

    `lasting`: worth a file when memory is full. Short ones would wear the disk for a few tokens.
    """

    tokens: Tokens
    size: int
    data: bytes | memoryview | None = None
    path: Path | None = None
    lasting: bool = True


class SavedStates:
    """Evicts the least recently used state from memory to disk, and from disk for good. Without a folder there is no disk.

    `folder` holds only states of one model file, one library version and one set of context settings.
    """

    def __init__(self, folder: Path | None, memory_bytes: int, disk_bytes: int, window: Window = NO_WINDOW) -> None:
        self._folder, self._limits, self._window = folder, (memory_bytes, disk_bytes), window
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._tree = Radix()
        self._next = 0
        self.damaged: list[str] = []
        """Files found damaged at the start, and removed."""
        if folder is not None:
            self._open(folder)

    def __len__(self) -> int:
        return len(self._entries)

    def match(self, tokens: Tokens) -> dict[int, int]:
        """Entry -> length of the prefix it shares with `tokens`."""
        return self._tree.match(tokens)

    def size(self, entry: int) -> int:
        return self._entries[entry].size

    def least(self, entry: int) -> int:
        """Fewest tokens to which the restored state can be cut."""
        return self._window.least(len(self._entries[entry].tokens))

    def covers(self, tokens: Tokens) -> bool:
        """Whether an entry holds all of `tokens` and can be cut to them, so that saving them again is unnecessary."""
        return any(self._serves(entry, length, tokens) for entry, length in self.match(tokens).items())

    def holding(self, tokens: Tokens, entry: int) -> int | None:
        """`entry`, or another one that starts with all of `tokens`: the first may have been evicted since it was chosen."""
        if entry in self._entries:
            return entry
        return next(
            (other for other, length in self.match(tokens).items() if self._serves(other, length, tokens)), None
        )

    def put(self, tokens: Tokens, data: bytes | memoryview, lasting: bool = True) -> None:
        """Store a state; entries that it can be cut to are removed."""
        least = self._window.least(len(tokens))
        for entry, length in self.match(tokens).items():
            if least <= length == len(self._entries[entry].tokens):
                self._forget(entry)
        number = self._add(Entry(tokens, len(data), data, lasting=lasting))
        if len(data) * LARGE > self._limits[0]:
            self._put_out(number)
        self._trim()

    def get(self, entry: int) -> tuple[Tokens, bytes | memoryview]:
        """The tokens and the state. Raises Damaged and removes the entry if the file is not intact."""
        found = self._entries[entry]
        self._entries.move_to_end(entry)
        if found.data is not None:
            return found.tokens, found.data
        assert found.path is not None
        try:
            tokens, data = _read(found.path)
            os.utime(found.path)
        except (OSError, Damaged) as error:
            self._forget(entry)
            raise Damaged(f"{found.path}: {error}") from error
        if not np.array_equal(tokens, found.tokens):
            self._forget(entry)
            raise Damaged(f"{found.path} holds another sequence now")
        return tokens, data

    def forget(self, entry: int) -> None:
        """Remove an entry that could not be used."""
        self._forget(entry)

    def close(self) -> None:
        """Write everything that is only in memory."""
        for number, entry in list(self._entries.items()):
            if entry.path is None:
                self._write(number)
        self._trim()

    def check(self) -> None:
        """Verify that tree and entries agree; RuntimeError if not."""
        self._tree.check({number: entry.tokens for number, entry in self._entries.items()})

    def _serves(self, entry: int, length: int, tokens: Tokens) -> bool:
        return self.least(entry) <= length == len(tokens)

    def _add(self, entry: Entry) -> int:
        number, self._next = self._next, self._next + 1
        self._entries[number] = entry
        self._tree.hold(number, entry.tokens)
        return number

    def _open(self, folder: Path) -> None:
        """Index the files of earlier processes. Only their tokens are read; the state's checksum is verified on use."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.glob(f"*{PART}"):
            path.unlink(missing_ok=True)
        for path in sorted(folder.glob(f"*{SUFFIX}"), key=_modified):
            try:
                with path.open("rb") as file:
                    tokens, _ = _read_head(file)
                    size = path.stat().st_size - file.tell()
            except (OSError, Damaged) as error:
                self.damaged.append(f"{path.name}: {error}")
                path.unlink(missing_ok=True)
            else:
                self._add(Entry(tokens, size, path=path))

    def _write(self, number: int) -> None:
        """Write a file atomically. A disk error loses the entry, never the request."""
        entry = self._entries[number]
        if self._folder is None or entry.data is None:
            self._forget(number)
            return
        try:
            entry.path = _write(self._folder, entry.tokens, entry.data)
            entry.data = None
        except OSError:
            self._forget(number)

    def _put_out(self, number: int) -> None:
        """Remove from memory."""
        if self._entries[number].lasting:
            self._write(number)
        else:
            self._forget(number)

    def _trim(self) -> None:
        memory, disk = self._limits
        for number, entry in list(self._entries.items()):
            if self._total(in_memory=True) <= memory:
                break
            if entry.data is not None:
                self._put_out(number)
        for number, entry in list(self._entries.items()):
            if self._total(in_memory=False) <= disk:
                break
            if entry.path is not None:
                self._forget(number)

    def _total(self, in_memory: bool) -> int:
        return sum(entry.size for entry in self._entries.values() if (entry.data is not None) == in_memory)

    def _forget(self, number: int) -> None:
        entry = self._entries.pop(number)
        self._tree.release(number)
        if entry.path is not None:
            with contextlib.suppress(OSError):
                entry.path.unlink(missing_ok=True)


def _write(folder: Path, tokens: Tokens, data: bytes | memoryview) -> Path:
    body = tokens.astype("<i4").tobytes()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # the folder may have been removed meanwhile
    handle, name = tempfile.mkstemp(dir=folder, suffix=PART)  # 0600 from the first byte
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(HEAD.pack(MAGIC, len(tokens), _checksum(body), _checksum(data)))
            file.write(body)
            file.write(data)
        path = folder / (_checksum(body).hex()[:32] + SUFFIX)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    return path


def _read_head(file: BinaryIO) -> tuple[Tokens, bytes]:
    """The tokens, and the expected checksum of the state. Raises Damaged."""
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        raise Damaged("the file is cut short")
    magic, count, tokens_sum, state_sum = HEAD.unpack(head)
    body = file.read(4 * count) if magic == MAGIC else b""
    if magic != MAGIC or len(body) < 4 * count or _checksum(body) != tokens_sum:
        raise Damaged("its header is damaged")
    return np.frombuffer(body, "<i4").astype(np.int32), state_sum


def _read(path: Path) -> tuple[Tokens, bytes]:
    with path.open("rb") as file:
        tokens, state_sum = _read_head(file)
        data = file.read()
    if _checksum(data) != state_sum:
        raise Damaged("its checksum does not match")
    return tokens, data


def _checksum(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
