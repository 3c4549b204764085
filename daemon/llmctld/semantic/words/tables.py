"""Word tables: text files in data/, divided into sections, and the two forms in which code reads them.

A section begins with `[name]`; a line that begins with "# " is a comment. An underscore stands for a space inside a word.
"""

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("data")


@cache
def sections(file: str) -> dict[str, list[str]]:
    """The lines of each section of a file, in their order. Read once."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in (FOLDER / f"{file}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name = line[1 : line.rindex("]")]
            found[name] = []
        elif line and not line.startswith("# "):
            found[name].append(line)
    return found


def section(file: str, name: str) -> str:
    """The lines of one section."""
    return "\n".join(sections(file)[name])


def by_name(text: str) -> dict[str, str]:
    """The lines `name: rest` of a section, as name -> rest."""
    return dict(line.split(": ", 1) for line in text.splitlines())


def words(text: str) -> frozenset[str]:
    """The words of `text`, split at spaces."""
    return frozenset(text.split())


def rows(text: str) -> dict[str, str]:
    """Each word -> the first word of its line."""
    table: dict[str, str] = {}
    for line in text.strip().splitlines():
        first, *others = (word.replace("_", " ") for word in line.split())
        table |= dict.fromkeys((first, *others), first)
    return table
