"""Whether a loaded model's files have changed: llama.cpp maps them, and truncating a mapped file kills the engine.

Compares sizes and times only.
"""

from collections.abc import Iterable
from pathlib import Path

from llmctl.hashes import FileIdentity, file_identity


def identities_of(paths: Iterable[Path]) -> list[FileIdentity]:
    """Metadata of the files that exist."""
    found = []
    for path in paths:
        try:
            found.append(file_identity(path))
        except OSError:
            continue
    return found


def changed(places: Iterable[FileIdentity]) -> str:
    """Describes the first changed file; empty if none has changed."""
    for place in places:
        try:
            now = file_identity(Path(place.path))
        except OSError as error:
            return f"{place.path} can no longer be read ({error.strerror})"
        if now.inode != place.inode:
            continue  # another file took its place; the library still maps the old one
        if now.size != place.size:
            return f"{place.path} had {place.size} bytes when it was loaded and has {now.size} now"
        if now.written != place.written:
            return f"{place.path} was written to after it was loaded"
    return ""
