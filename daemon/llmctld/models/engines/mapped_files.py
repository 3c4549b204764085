"""Whether files are still those that an engine was given: the library maps them, and one that is cut short under it ends it.

It knows sizes and times; what is in the files is not its concern.
"""

from collections.abc import Iterable
from pathlib import Path

from llmctl.hashes import Place, place_of


def places_of(paths: Iterable[Path]) -> list[Place]:
    """Of those that are there."""
    found = []
    for path in paths:
        try:
            found.append(place_of(path))
        except OSError:
            continue
    return found


def changed(places: Iterable[Place]) -> str:
    """The first that is not what it was, in words; empty where each is."""
    for place in places:
        try:
            now = place_of(Path(place.path))
        except OSError as error:
            return f"{place.path} cannot be read any more ({error.strerror})"
        if now.inode != place.inode:
            continue  # another file was put there: the library still has the one that it opened
        if now.size != place.size:
            return f"{place.path} had {place.size} bytes when it was loaded, and has {now.size} now"
        if now.written != place.written:
            return f"{place.path} was written to after it was loaded"
    return ""
