"""Writing vectors: JSON lines on stdout or in a file, or numpy's .npy format, written without numpy.

It knows formats and files, not where the vectors come from.
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
from llmctl.errors import Storage, Usage, counted
from llmctl.paths import absolute

Put = Callable[[Vector], None]
Write = Callable[[int], AbstractContextManager[Put]]


def writer(output: str | None) -> Write:
    """A function that, given the number of vectors, opens the output. Raises Usage for a file name that cannot be used."""
    if output is None:
        return _to_stdout
    path = Path(os.path.realpath(absolute(output)))  # write the target of a link, do not replace the link
    formats = {".npy": _npy, ".jsonl": _jsonl}
    if path.suffix not in formats:
        raise Usage(f"-o {output}: the name must end in .npy or .jsonl", "The suffix selects the format.")
    if not path.parent.is_dir():
        raise Usage(f"-o {output}: there is no folder {path.parent}", f"Create it first: mkdir -p {path.parent}")
    if path.exists() and not path.is_file():
        raise Usage(f"-o {output}: {path} is not a regular file", "Name a regular file, or omit -o to write to stdout.")
    return lambda count: _to_file(path, count, formats[path.suffix])


@contextmanager
def _to_stdout(count: int) -> Iterator[Put]:
    yield lambda vector: out.text(line(vector))


@contextmanager
def _to_file(path: Path, count: int, put: Callable[[BinaryIO, int, Vector], None]) -> Iterator[Put]:
    """Writes a temporary file in the same folder and renames it at the end, so that the output is complete or absent."""
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
        raise Storage.unwritten(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    failed = f"; {counted(bad, 'text')} failed, with NaN or null instead" if bad else ""
    out.notice(f"wrote {counted(count - bad, 'vector')} to {path}{failed}")


def line(vector: Vector) -> str:
    """A line of JSON; nine significant digits identify every float32."""
    if vector.error is not None:
        error = vector.error
        told = error.fields()
        words = msgspec.json.encode({"index": vector.index, "embedding": None, "error": told}).decode()
        return words + "\n"
    numbers = ",".join([f"{value:.9g}" for value in vector.values])
    return f'{{"index":{vector.index},"embedding":[{numbers}]}}\n'


def _jsonl(file: BinaryIO, count: int, vector: Vector) -> None:
    file.write(line(vector).encode())


def _npy(file: BinaryIO, count: int, vector: Vector) -> None:
    """(count, d) float32 in numpy's format 1.0 (see numpy.lib.format); a text that failed is a row of NaN."""
    if file.tell() == 0:
        shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {len(vector.values)}), }}"
        head = shape + " " * (-(len(shape) + 11) % 64) + "\n"
        file.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode("latin-1"))
    values = array("f", vector.values)
    if sys.byteorder == "big":
        values.byteswap()
    file.write(values.tobytes())
