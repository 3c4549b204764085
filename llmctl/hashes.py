"""The full hashes of models' files that the hub has computed, as they lie on disk; `models show` prints them.

It knows where a file lay when it was hashed, and reads none of it.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec


class Place(msgspec.Struct, frozen=True, array_like=True):
    """A file as the file system knows it: another one, or one written again, has another place. Times in ns."""

    path: str
    inode: int
    size: int
    written: int
    changed: int
    """Of the inode: set back by nobody."""


class Hashed(msgspec.Struct):
    """A model's SHA-256, and the places of its files at that time. Of several files it is that of the lines `HASH  NAME`."""

    sha256: str
    places: list[Place]


class Hashes(msgspec.Struct):
    """`known`: identity by place -> SHA-256, oldest first; `targets`: the same by the path that was added."""

    known: dict[str, str] = {}
    targets: dict[str, Hashed] = {}


def place_of(path: Path) -> Place:
    """Raises OSError."""
    found = path.stat()
    return Place(str(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read_hashes(file: Path, broken: Callable[[str], None]) -> Hashes:
    """None are known where the file is missing, or cannot be read, of which `broken` is told."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Hashes)
    except FileNotFoundError:
        return Hashes()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        broken(f"{file} cannot be read: {error}; the models will be hashed anew")
        return Hashes()


def sha256_of(hashes: Hashes, target: str) -> str | None:
    """Of a model whose files are still what they were."""
    found = hashes.targets.get(target)
    try:
        if found is not None and all(place_of(Path(place.path)) == place for place in found.places):
            return found.sha256
    except OSError:
        pass
    return None
