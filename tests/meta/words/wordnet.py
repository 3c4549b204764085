"""WordNet's files (Debian's package wordnet-base) as synsets: what the generator of word tables reads.

Format: wndb(5WN). Only what the tables need is kept of each line.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("/usr/share/wordnet")
POS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}


class Pointer(NamedTuple):
    """`source` and `target` are numbers of words, from 1 on; 0 where the whole synset is meant."""

    symbol: str
    synset: str
    source: int
    target: int


class Synset(NamedTuple):
    """`id` is the part of speech and the offset; `words` have an underscore for a space."""

    id: str
    words: list[str]
    pointers: list[Pointer]
    subject: str
    """The number of its lexicographer file: lexnames(5WN)."""
    gloss: str

    def to(self, *symbols: str) -> list[str]:
        """The synsets that pointers of these kinds lead to."""
        return [pointer.synset for pointer in self.pointers if pointer.symbol in symbols]


class WordNet:
    """Everything, in memory: 117,000 synsets."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    @cached_property
    def synsets(self) -> dict[str, Synset]:
        found = {}
        for pos in POS:
            for line in self._lines(f"data.{POS[pos]}"):
                data, _, gloss = line.partition(" | ")
                fields = data.split()
                count = int(fields[3], 16)
                words = [word.partition("(")[0] for word in fields[4 : 4 + 2 * count : 2]]
                at = 4 + 2 * count
                pointers = [
                    Pointer(symbol, ("a" if of == "s" else of) + offset, int(ends[:2], 16), int(ends[2:], 16))
                    for symbol, offset, of, ends in zip(
                        *(fields[at + 1 + part : at + 1 + 4 * int(fields[at]) : 4] for part in range(4)), strict=True
                    )
                ]
                found[pos + fields[0]] = Synset(pos + fields[0], words, pointers, fields[1], gloss.strip())
        return found

    @cached_property
    def senses(self) -> dict[str, dict[str, list[str]]]:
        """Part of speech -> lemma in lower case -> its synsets, the most frequent first."""
        found: dict[str, dict[str, list[str]]] = {}
        for pos in POS:
            table = found[pos] = {}
            for line in self._lines(f"index.{POS[pos]}"):
                fields = line.split()
                table[fields[0]] = [pos + offset for offset in fields[6 + int(fields[3]) :]]
        return found

    @cached_property
    def seen(self) -> dict[tuple[str, str], int]:
        """(part of speech and lemma, number of the sense) -> how often it was seen in texts."""
        found = {}
        for line in (self._folder / "cntlist.rev").read_text().splitlines():
            key, number, count = line.split()
            lemma, _, rest = key.partition("%")
            found["nvara"[int(rest[0]) - 1] + lemma, number] = int(count)
        return found

    def _lines(self, name: str) -> Iterator[str]:
        with (self._folder / name).open(encoding="ascii") as file:
            yield from (line for line in file if not line.startswith("  "))

    def below(self, top: str, symbols: tuple[str, ...] = ("~",)) -> set[str]:
        """The synsets under one, itself included."""
        found, waiting = {top}, [top]
        while waiting:
            for synset in self.synsets[waiting.pop()].to(*symbols):
                if synset not in found:
                    found.add(synset)
                    waiting.append(synset)
        return found

    def above(self, synset: str) -> set[str]:
        """The synsets over one, without itself."""
        found: set[str] = set()
        waiting = [synset]
        while waiting:
            for higher in self.synsets[waiting.pop()].to("@", "@i"):
                if higher not in found:
                    found.add(higher)
                    waiting.append(higher)
        return found
