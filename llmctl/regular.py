"""Reads a file that should be small: never a pipe or a device, which could hold up the reader, and never more than a limit.

It knows JSON as a notation, not what a file means. Client, hub and engines share it.
"""

import errno
import os
import stat
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")
MOST_BYTES = 16 * 2**20
"""More than any configuration, template, list or description has."""


def read_regular(file: Path, most: int = MOST_BYTES) -> bytes:
    """The content. Raises OSError, also if it is no regular file or has more than `most` bytes."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait for a writer
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(file))
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"it has {found.st_size} bytes, more than {most}", str(file))
        data = bytearray()
        while piece := os.read(descriptor, min(most + 1, 2**20)):  # a file in /proc tells no size, and one may grow
            data += piece
            if len(data) > most:
                raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(file))
        return bytes(data)
    finally:
        os.close(descriptor)


def read_json(file: Path, kind: type[T], most: int = MOST_BYTES) -> T:
    """The content as a `kind`. Raises what `read_regular` and `json_as` raise."""
    return json_as(read_regular(file, most), kind)


def read_python_json(file: Path, kind: type[T]) -> T:
    """As `read_json`, for JSON as Python's library writes it, with NaN and Infinity among its numbers (a Mamba's config.json)."""
    data = read_regular(file)
    try:
        return json_as(data, kind)
    except msgspec.ValidationError:
        raise
    except ValueError:
        import json  # rarely needed

        try:
            return msgspec.convert(json.loads(data), kind)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error


def json_as(data: bytes, kind: type[T]) -> T:
    """Raises ValueError for anything that is no JSON of this kind."""
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as error:  # thousands of brackets
        raise ValueError("it is nested too deeply") from error
