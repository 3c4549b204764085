"""Returns memory pages that contain only zeros to the system.

It knows the address space of this process, not its contents. Where the system does not list mappings, it does nothing.
"""

import ctypes
import mmap
from pathlib import Path

MAPS = Path("/proc/self/maps")
LARGE = 16 * 2**20
"""Minimum bytes of a mapping to look at: the library allocates its KV memory in one piece."""
STEP = 2**20
"""Bytes checked and returned at once."""

Range = tuple[int, int]


def anonymous_mappings() -> list[Range]:
    """Private anonymous mappings, ascending; empty where the system does not list them."""
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
    """Return the zero pages (in pieces of STEP) of mappings that did not exist `before`; returns the bytes.

    llama.cpp zeroes its KV memory at creation and so touches every page of what may never be used. A returned page reads as zeros
    again (madvise(2), MADV_DONTNEED). No thread may write to these mappings meanwhile.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return 0
    system = ctypes.CDLL(None)
    system.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    system.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    zeros = ctypes.create_string_buffer(STEP)
    given = 0
    for begin, end in _new(before, anonymous_mappings()):
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
