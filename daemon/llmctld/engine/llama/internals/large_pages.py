"""Moves a mapped model file to large pages: a step reads all weights, and looking up small pages takes a tenth of its time.

It knows the address space of this process and Linux's calls for it. Elsewhere it does nothing.
"""

import ctypes
import mmap
from functools import cache
from pathlib import Path

from llmctl.control_groups import memory_limits

MAPS, MEMORY = Path("/proc/self/maps"), Path("proc/meminfo")
LARGE = 2 * 2**20
"""Bytes of a large page."""
PIECE = 16 * LARGE
"""Bytes moved at once: some 20 ms, for which a request that arrives meanwhile waits."""
LEAST = 64 * 2**20
"""A smaller file gains nothing that anybody notices."""
FREE = 2
"""The system must have this many times the bytes that are left to move available: it cannot drop such a page, as it can a file's.
"""
FIXED = 1 | 2
"""MREMAP_MAYMOVE | MREMAP_FIXED: replaces what is mapped at the new address, for all threads at once."""
FAILED = 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 1
"""MAP_FAILED."""


class LargePages:
    """The weights in `path`, moved piece by piece."""

    def __init__(self, path: Path, least: int = LEAST) -> None:
        self._pieces: list[tuple[int, int]] = []
        if not hasattr(mmap, "MADV_HUGEPAGE"):
            return
        mapped = _mapped(path)
        size = sum(end - begin for begin, end in mapped)
        if size >= least:
            self._pieces = [piece for whole in mapped for piece in _pieces(*whole)]

    def move(self) -> bool:
        """Move one piece; False if there is none left. No thread may wait for a page of it meanwhile."""
        if not self._pieces or _available() < FREE * sum(size for _, size in self._pieces):
            return False
        begin, size = self._pieces.pop()
        copy = _reserved(size)
        if copy is None:
            self._pieces = []
            return False
        ctypes.memmove(copy, begin, size)
        system = _system()
        system.mprotect(copy, size, mmap.PROT_READ)
        if system.mremap(copy, size, size, FIXED, begin) != begin:
            system.munmap(copy, size)
            self._pieces = []
        return bool(self._pieces)


@cache
def _system() -> ctypes.CDLL:
    system, address, size = ctypes.CDLL(None), ctypes.c_void_p, ctypes.c_size_t
    system.mmap.argtypes = [address, size, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    system.mremap.argtypes = [address, size, size, ctypes.c_int, address]
    system.mmap.restype = system.mremap.restype = address
    system.munmap.argtypes = [address, size]
    system.madvise.argtypes = system.mprotect.argtypes = [address, size, ctypes.c_int]
    return system


def _reserved(size: int) -> int | None:
    """Address of `size` bytes for large pages, at the boundary of one; None if the system refuses."""
    system = _system()
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    first = system.mmap(None, size + LARGE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if first is None or first == FAILED:
        return None
    begin = -(-first // LARGE) * LARGE
    if begin > first:
        system.munmap(first, begin - first)
    system.munmap(begin + size, first + LARGE - begin)
    if system.madvise(begin, size, mmap.MADV_HUGEPAGE):
        system.munmap(begin, size)
        return None
    return int(begin)


def _mapped(path: Path) -> list[tuple[int, int]]:
    """Addresses at which this file is mapped for reading."""
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        place, rights, _, _, _, *name = line.split(maxsplit=5)
        if rights in ("r--s", "r--p") and name == [str(path.resolve())]:
            begin, end = (int(number, 16) for number in place.split("-"))
            found.append((begin, end))
    return found


def _pieces(begin: int, end: int) -> list[tuple[int, int]]:
    """Address and size of each piece between the first and the last boundary of a large page."""
    first, last = -(-begin // LARGE) * LARGE, end // LARGE * LARGE
    return [(at, min(PIECE, last - at)) for at in range(first, last, PIECE)]


def _available(root: Path = Path("/")) -> int:
    """Bytes that the system and the control groups of this process can give without swapping; 0 if it does not tell."""
    try:
        lines = (root / MEMORY).read_text().splitlines()
    except OSError:
        return 0
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    return min([free, *(limit - used for limit, used in memory_limits(root))])
