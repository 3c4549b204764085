"""Where vectors go: JSON lines on stdout or in a file, or numpy's own format, which needs no numpy to be written.

It knows formats and files; where the vectors come from is the command's business.
"""

import contextlib
import os
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from llmctl.cli.console import out
from llmctl.embedding import Vector
from llmctl.errors import Storage, Usage
from llmctl.paths import absolute

Put = Callable[[Vector], None]
Write = Callable[[int], AbstractContextManager[Put]]


def writer(output: str | None) -> Write:
    """For a number of vectors, what takes them one after another. Raises Usage where the file's name tells no format."""
    if output is None:
        return _to_stdout
    path = Path(os.path.realpath(absolute(output)))  # what a link leads to is written, not the link
    formats = {".npy": _npy, ".jsonl": _jsonl}
    if path.suffix not in formats:
        raise Usage(f"-o {output}: the name must end in .npy or .jsonl", "The ending decides what is written.")
    if not path.parent.is_dir():
        raise Usage(f"-o {output}: there is no folder {path.parent}", "Make it first.")
    if path.exists() and not path.is_file():
        raise Usage(f"-o {output}: {path} is no file that could be replaced", "Without -o the vectors go to stdout.")
    return lambda count: _to_file(path, count, formats[path.suffix])


@contextmanager
def _to_stdout(count: int) -> Iterator[Put]:
    yield lambda vector: out.text(line(vector))


@contextmanager
def _to_file(path: Path, count: int, put: Callable[[BinaryIO, int, Vector], None]) -> Iterator[Put]:
    """Whole or not at all: written beside its place and moved there at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    bad = 0

    def take(vector: Vector) -> None:
        nonlocal bad
        bad += vector.error is not None
        put(file, count, vector)

    try:
        with temporary.open("wb") as file:
            yield take
        os.replace(temporary, path)
    except OSError as error:
        raise Storage(f"{path} cannot be written: {error.strerror}", "Make room, or name another place.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    told = f"; {bad} of the texts have none, and NaN or null instead" if bad else ""
    out.notice(f"{count - bad} vectors are in {path}{told}")


def line(vector: Vector) -> str:
    """A line of JSON; nine digits tell every float32 from its neighbours."""
    if vector.error is not None:
        error = vector.error
        told = {"code": error.code, "message": error.message, "hint": error.hint}
        words = msgspec.json.encode({"index": vector.index, "embedding": None, "error": told}).decode()
        return words + "\n"
    numbers = ",".join([f"{value:.9g}" for value in vector.values])
    return f'{{"index":{vector.index},"embedding":[{numbers}]}}\n'


def _jsonl(file: BinaryIO, count: int, vector: Vector) -> None:
    file.write(line(vector).encode())


def _npy(file: BinaryIO, count: int, vector: Vector) -> None:
    """(count, d) float32 in numpy's format 1.0 (numpy.lib.format); a text without a vector is a row of NaN."""
    if file.tell() == 0:
        shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {len(vector.values)}), }}"
        head = shape + " " * (-(len(shape) + 11) % 64) + "\n"
        file.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode("latin-1"))
    values = array("f", vector.values)
    if sys.byteorder == "big":
        values.byteswap()
    file.write(values.tobytes())
