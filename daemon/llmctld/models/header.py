"""What a GGUF file says about itself, read from its header in plain Python: the hub loads no numpy for it.

It knows the format's first part (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) and no tensor.
"""

import struct
from pathlib import Path
from typing import BinaryIO

Value = int | float | bool | str

MAGIC = b"GGUF"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The format's number of a type -> how struct names it."""
STRING, ARRAY = 8, 9
MOST = 2**28
"""Bytes of one string, or items of one array: beyond it the file is damaged."""


class Damaged(ValueError):
    """The header cannot be read to its end."""


def read_header(path: Path) -> dict[str, Value]:
    """Key -> value, but for arrays. Raises Damaged, and OSError."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise Damaged(f"{path} does not begin with {MAGIC!r}")
        version, _, count = _unpack(file, "IQQ")
        if version not in (2, 3):
            raise Damaged(f"{path} is of the version {version} of the format; 2 and 3 are known")
        found: dict[str, Value] = {}
        for _ in range(int(count)):
            key = _string(file)
            value = _value(file, int(_unpack(file, "I")[0]))
            if value is not None:
                found[key] = value
        return found


def _value(file: BinaryIO, kind: int) -> Value | None:
    """None for an array, which is passed over."""
    if kind == STRING:
        return _string(file)
    if kind != ARRAY:
        value: Value = _unpack(file, _letter(kind))[0]
        return value
    inner, count = _unpack(file, "IQ")
    if inner == ARRAY or count > MOST:
        raise Damaged(f"an array of {count} items of the type {inner}")
    if inner == STRING:
        for _ in range(int(count)):
            file.seek(_length(file), 1)
    else:
        file.seek(int(count) * struct.calcsize(_letter(int(inner))), 1)
    return None


def _letter(kind: int) -> str:
    if kind not in SCALARS:
        raise Damaged(f"a value of the unknown type {kind}")
    return SCALARS[kind]


def _length(file: BinaryIO) -> int:
    length = int(_unpack(file, "Q")[0])
    if length > MOST:
        raise Damaged(f"a string of {length} bytes")
    return length


def _string(file: BinaryIO) -> str:
    length = _length(file)
    data = file.read(length)
    if len(data) < length:
        raise Damaged("the file ends within its header")
    return data.decode(errors="replace")


def _unpack(file: BinaryIO, kinds: str) -> tuple[int | float | bool, ...]:
    size = struct.calcsize("<" + kinds)
    data = file.read(size)
    if len(data) < size:
        raise Damaged("the file ends within its header")
    return struct.unpack("<" + kinds, data)
