"""msgspec's validation errors as values: msgspec reports them as English text only, and this is the one place that reads it.

It knows msgspec's wording (tests hold it against the installed version), not what a field means.
"""

import re
from typing import NamedTuple

TYPE = re.compile(r"Expected `([^`]+)`(?:, got `.+`| (>=|<=|>|<) (.+))$")
PATTERN = re.compile(r"Expected `str` matching regex '(.+)'$")
UNKNOWN = re.compile(r"Object contains unknown field `(.+)`$")
ENUM = re.compile(r"Invalid enum value .+$")


class Misfit(NamedTuple):
    """`field`: the dotted path, `[...]` for any entry of a mapping; empty for the whole. `words`: msgspec's own.

    One of these is set, or none: `kinds` (expected types, with `bound` and `limit` where a number is out of range), `pattern`,
    `unknown` (the name of a key), `is_enum`.
    """

    field: str
    words: str
    kinds: tuple[str, ...] = ()
    bound: str = ""
    limit: str = ""
    pattern: str = ""
    unknown: str = ""
    is_enum: bool = False


def misfit_of(message: str) -> Misfit:
    """The parts of a msgspec.ValidationError's text."""
    words, _, where = message.partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    if found := TYPE.match(words):
        kinds, bound, limit = found.groups()
        return Misfit(field, words, tuple(kinds.split(" | ")), bound or "", (limit or "").removesuffix(".0"))
    if found := PATTERN.match(words):
        return Misfit(field, words, pattern=found[1].replace("\\\\", "\\"))
    if found := UNKNOWN.match(words):
        return Misfit(field, words, unknown=found[1])
    return Misfit(field, words, is_enum=ENUM.match(words) is not None)
