"""What both generators share: the form of names, rows and files of word tables."""

from collections.abc import Iterable

from llmctld.semantic.words.fold import fold, plain
from llmctld.semantic.words.tables import rows, section

from tests.meta.words.wordnet import WordNet

Row = tuple[str, list[str]]
"""The name that English has, and the other names."""
LOCATION = "15"
"""The lexicographer file of places."""


def key(name: str) -> str:
    """A name as the tables have it."""
    return plain(fold(name)).replace(" ", "_")


def hand_written() -> dict[str, str]:
    """The names of places that are listed by hand -> the first of their row."""
    return rows(section("names", "places"))


def text(head: str, parts: Iterable[tuple[str, str, Iterable[str]]]) -> str:
    """A file of tables: its head, and (section, comment, lines)."""
    found = "".join(f"# {line}\n" for line in head.splitlines())
    for name, comment, lines in parts:
        found += f"\n[{name}]\n" + "".join(f"# {line}\n" for line in comment.splitlines())
        found += "".join(f"{line}\n" for line in lines)
    return found


def spaced(word: str) -> str:
    return word.replace("_", " ").casefold()


def lines(found: Iterable[Row]) -> list[str]:
    return [" ".join((first, *others)) for first, others in found]


def ordinary(name: str, wordnet: WordNet) -> bool:
    """Whether a name is another word in English, and no place."""
    senses = [sense for table in wordnet.senses.values() for sense in table.get(name, ())]
    return any(wordnet.synsets[sense].subject != LOCATION for sense in senses)
