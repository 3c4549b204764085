"""A file of fixed-size records, each overwritten in place: no log and no compaction. A free record is all zeros.

A checksum in each record reveals one that a crash tore. Callers interpret records and restore lost ones. Never
memory-mapped: a truncated file must not crash the hub.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmctl.errors import Storage
from llmctl.files import write_whole
from llmctld.runtime.log import log
from llmctld.storage.files import set_aside

CHECKSUM = 4
"""Bytes of a little-endian CRC-32."""


class Slots:
    """`size`: bytes per record, checksum included. `kind`: header of the file; a file with another one is set aside.

    Every method blocks and raises Storage for disk errors.
    """

    def __init__(self, path: Path, size: int, kind: bytes) -> None:
        self._path, self._size = path, size
        self._head = seal(kind.ljust(size - CHECKSUM, b"\0"))
        self._file = -1
        self._length = 0
        """Bytes that the file has at least."""

    def open(self) -> tuple[bytearray, list[str]]:
        """All records in one array, zeros for free slots; and notices about damage."""
        told = []
        with storage_errors(self._path):
            image, bad = self._read()
            if image is None or len(bad) > 1:  # a crash tears at most one record: more is damage
                what = f"{len(bad)} of its records" if image is not None else "its beginning"
                told.append(set_damaged_aside(self._path, what))
                write_whole(self._path, self._head, image or b"", sync=True)
            self._file = os.open(self._path, os.O_RDWR)
            os.fchmod(self._file, 0o600)
            image = image or bytearray()
            for slot in bad:
                self.clear(slot)
            self.cut(len(image) // self._size)
            self._length = self._size + len(image)
        return image, told

    def _read(self) -> tuple[bytearray | None, list[int]]:
        """The records with bad ones zeroed, and their indices; None if the header is wrong."""
        if not self._path.exists():
            write_whole(self._path, self._head, sync=True)
        with self._path.open("rb") as file:
            if file.read(self._size) != self._head:
                return None, []
            count = (os.fstat(file.fileno()).st_size - self._size) // self._size  # the last record may be incomplete
            image = bytearray(count * self._size)
            del image[file.readinto(image) :]
        bad = [slot for slot, record in enumerate(self._records(image)) if not is_intact(record)]
        for slot in bad:
            image[slot * self._size : (slot + 1) * self._size] = bytes(self._size)
        while image.endswith(bytes(self._size)):
            del image[-self._size :]
        return image, bad

    def _records(self, image: bytearray) -> Iterator[memoryview]:
        view = memoryview(image)
        for start in range(0, len(image), self._size):
            yield view[start : start + self._size]

    def write(self, slot: int, payload: bytes) -> int:
        """Writes a record and returns its checksum. If the process dies, the slot is old, new or free at the next
        start.
        """
        record = seal(payload)
        with storage_errors(self._path):
            self._put(slot, record)
        return int.from_bytes(record[:CHECKSUM], "little")

    def clear(self, slot: int) -> None:
        """Overwrites the record with zeros."""
        with storage_errors(self._path):
            self._put(slot, bytes(self._size))

    def cut(self, count: int) -> None:
        """Truncates the file to `count` slots."""
        with storage_errors(self._path):
            self._length = min(self._length, (count + 1) * self._size)
            os.ftruncate(self._file, (count + 1) * self._size)

    def _put(self, slot: int, record: bytes) -> None:
        start = (slot + 1) * self._size
        written = os.pwrite(self._file, record, start)
        while written < len(record):  # a disk that fills up takes part of a write, then refuses
            written += os.pwrite(self._file, record[written:], start + written)
        self._length = max(self._length, start + len(record))

    def lost(self) -> str | None:
        """What happened to the open file, in words: the path leads elsewhere, or records are missing. None if nothing."""
        try:
            own = os.fstat(self._file)
        except OSError:  # closed, or being opened again on another thread
            return None
        try:
            now = self._path.stat()
        except OSError:
            return "was removed"
        if (now.st_dev, now.st_ino) != (own.st_dev, own.st_ino):
            return "was replaced"
        return "was truncated" if now.st_size < self._length else None

    def restore(self, image: bytes) -> str | None:
        """If the file is lost, writes it again with these records. Returns a notice, once for each loss."""
        happened = self.lost()
        if happened is None:
            return None
        with storage_errors(self._path):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            aside = set_aside(self._path)
            write_whole(self._path, self._head, image, sync=True)
            os.close(self._file)
            self._file = os.open(self._path, os.O_RDWR)
            self._length = self._size + len(image)
        moved = "" if aside is None else f"; the old one is now {aside}"
        log.error(
            "a file was lost and is written again", file=str(self._path), happened=happened, moved_to=str(aside or "")
        )
        return f"{self._path} {happened}; it is written again from memory{moved}"

    def sync(self) -> None:
        """Makes all writes survive a power cut."""
        with storage_errors(self._path):
            os.fsync(self._file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def seal(payload: bytes) -> bytes:
    return zlib.crc32(payload).to_bytes(CHECKSUM, "little") + payload


def is_intact(record: memoryview) -> bool:
    """Whether the checksum is right, or the record free."""
    if zlib.crc32(record[CHECKSUM:]) == int.from_bytes(record[:CHECKSUM], "little"):
        return True
    return bytes(record).count(0) == len(record)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Converts OSError to Storage."""
    try:
        yield
    except OSError as error:
        raise Storage(f"{path} cannot be written or read: {error.strerror or error}") from error


def set_damaged_aside(path: Path, what: str) -> str:
    """Sets a damaged file aside and logs that. Returns the notice."""
    aside = set_aside(path)
    log.warning("a damaged file was set aside and replaced", file=str(path), moved_to=str(aside), damaged=what)
    return f"{path} was damaged ({what}) and has been replaced; the old one is {aside}"
