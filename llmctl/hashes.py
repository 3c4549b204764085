"""The SHA-256 of model files that the hub has computed, as stored on disk; `models show` prints them.

It knows which file was hashed and reads no model file.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from llmctl.regular import read_json


class FileIdentity(msgspec.Struct, frozen=True, array_like=True):
    """The identity of a file in the file system; it changes when the file is replaced or written. Times in ns."""

    path: str
    inode: int
    size: int
    written: int
    changed: int
    """Change time of the inode, which no program can set back."""


class Hashed(msgspec.Struct):
    """A model's SHA-256, and the identity of its files then. For several files it is the hash of the lines `HASH  NAME`."""

    sha256: str
    places: list[FileIdentity]


class Hashes(msgspec.Struct):
    """`known`: file identity -> SHA-256, oldest first; `targets`: the same by the added path."""

    known: dict[str, str] = {}
    targets: dict[str, Hashed] = {}


def file_identity(path: Path) -> FileIdentity:
    """Raises OSError."""
    found = path.stat()
    return FileIdentity(str(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read_hashes(file: Path, broken: Callable[[str], None]) -> Hashes:
    """The stored hashes; none if the file is missing or cannot be read. `broken` is called with a message in that case."""
    try:
        return read_json(file, Hashes)
    except FileNotFoundError:
        return Hashes()
    except (OSError, ValueError) as error:
        broken(f"cannot read {file}: {error}; the models will be hashed again")
        return Hashes()


def sha256_of(hashes: Hashes, target: str) -> str | None:
    """The hash of a model, if its files have not changed."""
    found = hashes.targets.get(target)
    try:
        if found is not None and all(file_identity(Path(place.path)) == place for place in found.places):
            return found.sha256
    except OSError:
        pass
    return None
