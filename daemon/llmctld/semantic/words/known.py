"""Names that are known however they are written: places with their people, companies, products, people of history.

It is no encyclopaedia: other names are recognised by their capital letters.
"""

from llmctld.semantic.words.tables import rows, section, words

_PEOPLE = words(section("names", "people"))

KNOWN = rows(section("names", "places")) | dict(zip(_PEOPLE, _PEOPLE, strict=True)) | rows(section("names", "things"))
"""Each name -> the first name of the same thing."""

PHRASES = {name: first for name, first in KNOWN.items() if " " in name}
"""The names of more than one word."""

FIRSTS = frozenset(name.split()[0] for name in PHRASES)

AMBIGUOUS = words(section("names", "ambiguous"))
"""Names only when written with a capital letter."""
