"""Names that are known however they are written: places with their people, companies, products, people of history.

It is no encyclopaedia: other names are recognised by their capital letters.
"""

from llmctld.semantic.words.tables import rows, section, sections, words

_PEOPLE = words(section("names", "people"))

KNOWN = rows(section("names", "places")) | dict(zip(_PEOPLE, _PEOPLE, strict=True)) | rows(section("names", "things"))
"""Each name -> the first name of the same thing."""


def _add(known: dict[str, str], text: str) -> None:
    """Takes the rows of `text` in, but for names that are known already."""
    for name, first in rows(text).items():
        known.setdefault(name, known.get(first, first))


_add(KNOWN, section("cldr", "places"))
_add(KNOWN, section("wordnet", "cities"))
_add(KNOWN, section("wordnet", "people"))
_add(KNOWN, section("wordnet", "people with a capital"))

LOCAL = {
    name.removeprefix("places "): {place: KNOWN.get(first, first) for place, first in rows("\n".join(lines)).items()}
    for name, lines in sections("cldr").items()
    if name.startswith("places ") and len(name) == len("places xx")
}
"""Language -> names of places that are other words in English."""

PHRASES = {name: first for name, first in KNOWN.items() if " " in name}
"""The names of more than one word."""

FIRSTS = frozenset(name.split()[0] for name in PHRASES)

AMBIGUOUS = words(section("names", "ambiguous")) | words(section("cldr", "places with a capital").replace("_", " "))
AMBIGUOUS |= {name for line in sections("wordnet")["people with a capital"] for name in line.split()[1:]}
"""Names only when written with a capital letter."""
