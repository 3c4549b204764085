"""Gives the machine back the pages of memory that were only ever filled with zeros: the system keeps no page for those.

It knows this process's address space and nothing of what lies in it; where the system does not tell, all stays as it is.
"""

import ctypes
import mmap
from pathlib import Path

MAPS = Path("/proc/self/maps")
LARGE = 16 * 2**20
"""Bytes of a stretch that are worth a look: the library takes its KV memory from the system in one piece."""
STEP = 2**20
"""Bytes that are looked at, and given back, at once."""

Range = tuple[int, int]


def stretches() -> list[Range]:
    """Where memory lies that is this process's own and no file's, in ascending order; empty where nothing tells it."""
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:
        return []
    found: list[Range] = []
    for line in lines:
        place, rights, _, _, inode, *name = line.split(maxsplit=5)
        if rights == "rw-p" and inode == "0" and not name:
            begin, end = (int(number, 16) for number in place.split("-"))
            found.append((begin, end))
    return found


def give_back_zeros(before: list[Range]) -> int:
    """Of the stretches that were not there `before`, what is zero in pieces of STEP; returns the bytes given back.

    llama.cpp fills its KV memory with zeros when it makes it, and so touches every page of what may never be used. A page
    that is given back reads as zeros again (madvise(2), MADV_DONTNEED), so nothing is changed by it. Nobody may write to
    these stretches meanwhile.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return 0
    system = ctypes.CDLL(None)
    system.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    system.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    zeros = ctypes.create_string_buffer(STEP)
    given = 0
    for begin, end in _new(before, stretches()):
        for piece in range(-(-begin // STEP) * STEP, end - STEP + 1, STEP):
            if not system.memcmp(piece, zeros, STEP) and not system.madvise(piece, STEP, mmap.MADV_DONTNEED):
                given += STEP
    return given


def _new(before: list[Range], now: list[Range]) -> list[Range]:
    """The large parts of `now` that are not in `before`."""
    parts: list[Range] = []
    for begin, end in now:
        for old_begin, old_end in before:
            if old_begin < end and begin < old_end:
                parts.append((begin, old_begin))
                begin = old_end
        parts.append((begin, end))
    return [(begin, end) for begin, end in parts if end - begin >= LARGE]
