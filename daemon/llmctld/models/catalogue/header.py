"""Reads the header of a GGUF file in plain Python, without numpy.

Knows the metadata and the tensor descriptions (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md); never reads
tensor data.
"""

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Value = int | float | bool | str

MAGIC = b"GGUF"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Type number in the file -> format character of `struct`."""
STRING, ARRAY = 8, 9
MOST = 2**27
"""Limit for the bytes of a string, the bytes of the header, and the items of an array; anything larger is damage."""
MOST_PAIRS, MOST_TENSORS, MOST_STRINGS = 2**14, 2**17, 2**23
"""Real files have some 100 keys, some 1,000 tensors and 300,000 tokens. Empty ones would be counted for minutes."""
MOST_BYTES = 2**62
"""A tensor beyond this is damage; sums of such numbers could not be sent."""
FIRST = 2**23
"""Bytes read first, enough for most vocabularies; a longer header is read again with four times as many each time."""
LISTED = 4096
"""Longest array that is kept: one value per layer is useful, a vocabulary is not."""
DIMENSIONS = 4
ALIGNMENT = 32
"""Alignment of tensors if `general.alignment` is missing. Tensor offsets count from the first aligned byte behind the
header.
"""

BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36),
}  # fmt: skip
"""Tensor type number -> (values in a block, bytes of a block)."""


TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K",
    13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
    22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
"""Tensor type number -> common name."""


class DamagedHeader(ValueError):
    """The header cannot be parsed."""


class CutOff(DamagedHeader):
    """The file ends within its header."""


class Header(NamedTuple):
    """`values`: key -> value. `lists`: key -> numbers of a short array. `lengths`: key -> items of an array. `shapes`:
    tensor -> dimensions, row first.

    `weights`: bytes of all tensors, None if one has an unknown type. `end`: minimum size of the file, up to the end of
    its last tensor.
    """

    values: dict[str, Value]
    lists: dict[str, tuple[float, ...]]
    lengths: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    weights: int | None
    end: int = 0
    types: frozenset[str] = frozenset()
    """Names of the tensor types."""


def read_header(path: Path) -> dict[str, Value]:
    """Key -> value, without arrays. Raises DamagedHeader and OSError."""
    return _read(path, _values).values


def read_whole_header(path: Path) -> Header:
    """The header with arrays and tensors. Raises DamagedHeader and OSError."""
    return _read(path, _all)


def joined(parts: list[Header]) -> Header:
    """The header of the first part with the tensors of all parts of a model."""
    shapes = {name: shape for part in parts for name, shape in part.shapes.items()}
    types = frozenset[str]().union(*(part.types for part in parts))
    return parts[0]._replace(weights=sum(part.weights or 0 for part in parts), shapes=shapes, types=types)


class _Short(Exception):
    """More bytes of the file are needed."""


def _read(path: Path, parse: "Callable[[_Bytes], Header]") -> Header:
    size = FIRST
    with path.open("rb") as file:
        while True:
            file.seek(0)
            data = file.read(size)
            try:
                return parse(_Bytes(data))
            except (_Short, struct.error):
                if len(data) < size:
                    raise CutOff(f"{path} ends within its header") from None
                if size >= MOST:
                    raise DamagedHeader(f"{path} has a header of more than {MOST} bytes") from None
            size = min(4 * size, MOST)


def _values(data: "_Bytes") -> Header:
    if data.take(4) != MAGIC:
        raise DamagedHeader(f"it does not start with {MAGIC!r}")
    version, _, count = data.unpack("IQQ")
    if version not in (2, 3):
        raise DamagedHeader(f"its GGUF version is {version}; versions 2 and 3 are supported")
    if count > MOST_PAIRS:
        raise DamagedHeader(f"it claims {count} keys")
    found = Header({}, {}, {}, {}, None)
    for _ in range(int(count)):
        key, kind = data.string(), int(data.unpack("I")[0])
        if kind == ARRAY:
            items, found.lengths[key] = data.array()
            if items:
                found.lists[key] = items
        else:
            found.values[key] = data.string() if kind == STRING else data.unpack(_letter(kind))[0]
    return found


def _all(data: "_Bytes") -> Header:
    found = _values(data)
    count, weights, last, known = struct.unpack_from("<Q", data.whole, 8)[0], 0, 0, True
    types = set()
    if count > MOST_TENSORS:
        raise DamagedHeader(f"it claims {count} tensors")
    for _ in range(count):
        name, dimensions = data.string(), int(data.unpack("I")[0])
        if dimensions > DIMENSIONS:
            raise DamagedHeader(f"the tensor {name!r} has {dimensions} dimensions")
        shape = tuple(int(size) for size in data.unpack("Q" * dimensions))
        kind, offset = data.unpack("IQ")
        found.shapes[name] = shape
        types.add(TYPES.get(int(kind), str(kind)))
        values, size = BLOCKS.get(int(kind), (1, 0))
        known = known and size > 0
        weights += math.prod(shape) // values * size
        last = max(last, int(offset) + math.prod(shape) // values * size)
        if max(last, weights) > MOST_BYTES:
            raise DamagedHeader(f"the tensor {name[:80]!r} ends at byte {last}")
    alignment = found.values.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise DamagedHeader(f"its alignment is {alignment!r}")
    end = -(-data.at // alignment) * alignment + last if count else 0
    return found._replace(weights=weights if known else None, end=end, types=frozenset(types))


def _letter(kind: int) -> str:
    if kind not in SCALARS:
        raise DamagedHeader(f"a value has the unknown type {kind}")
    return SCALARS[kind]


class _Bytes:
    """The beginning of a file with a read position. Raises _Short and struct.error at the end."""

    def __init__(self, whole: bytes) -> None:
        self.whole, self.at = whole, 0

    def take(self, length: int) -> bytes:
        if length > MOST:
            raise DamagedHeader(f"a string of {length} bytes")
        self.at += length
        if self.at > len(self.whole):
            raise _Short
        return self.whole[self.at - length : self.at]

    def unpack(self, kinds: str) -> tuple[int | float | bool, ...]:
        found = struct.unpack_from("<" + kinds, self.whole, self.at)
        self.at += struct.calcsize("<" + kinds)
        return found

    def string(self) -> str:
        return self.take(int(self.unpack("Q")[0])).decode(errors="replace")

    def array(self) -> tuple[tuple[float, ...], int]:
        """The numbers of a short array, else (), and the number of items."""
        kind, items = (int(number) for number in self.unpack("IQ"))
        if kind == ARRAY or items > MOST:
            raise DamagedHeader(f"an array of {items} items of the type {kind}")
        if kind == STRING:
            if items > MOST_STRINGS:
                raise DamagedHeader(f"an array of {items} texts")
            self._pass_strings(items)
        elif items > LISTED:
            self.take(items * struct.calcsize("<" + _letter(kind)))
        else:
            return self.unpack(_letter(kind) * items), items
        return (), items

    def _pass_strings(self, items: int) -> None:
        """Skips the strings of a vocabulary in one loop: 70 ms for half a million, against 500 ms with a call for
        each.
        """
        read, whole, at = struct.Struct("<Q").unpack_from, self.whole, self.at
        for _ in range(items):
            (length,) = read(whole, at)
            if length > MOST:
                raise DamagedHeader(f"a string of {length} bytes")
            at += 8 + length
        self.at = at
