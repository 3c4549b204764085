"""Guards `number` and `unit`: the numbers of a text in digits and in words, ordinals, percentages, currencies, and units.

It reads how numbers are written, not what they count.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmctld.semantic.words import tables
from llmctld.semantic.words.units import FACTORS, GROUPS, SIGNS, UNITS, WRITTEN_AFTER
from llmctld.semantic.words.wordnumbers import ORDINAL_ENDINGS, WordNumber, word_numbers


class Quantity(NamedTuple):
    """A number as it is compared. Whole numbers are int; versions and fractions stay as they are written."""

    value: float | str
    unit: str | None = None
    loose: bool = False
    """It means nothing if the other text has no number: "one", "first", "once", "1 kg", "top 10"."""

    @property
    def year(self) -> bool:
        return self.unit is None and isinstance(self.value, int) and 1400 <= self.value <= 2200


_NUMBER = re.compile(r"([^\w\s.,-]?)(-?\d+(?:[.,]\d+)*)(\S*)")
_DIGITS = re.compile(r"\d+(?:\.\d+)*")
_PARTS = re.compile(r"(?<=\d)[/:-](?=[$€£₹]?\d)")
_DEGREES = ("degree", "degrees", "deg", "°", "grad")
_SCALES = {"c": "celsius", "celsius": "celsius", "f": "fahrenheit", "fahrenheit": "fahrenheit", "k": "kelvin"}
_OPERATIONS = tables.rows("""
+ plus
- minus
* \u00d7 times multiplied
/ ÷ divided
^ power
< less
> greater
= equals
""")
_OF_A_LIST = tables.words("best top examples example ways tips steps reasons things facts points ideas most different")
_MULTIPLES = {"k": 10**3, "bn": 10**9, "mn": 10**6, "hundred": 100, "thousand": 10**3, "thousands": 10**3}
_MULTIPLES |= {"lakh": 10**5, "lakhs": 10**5, "lac": 10**5, "crore": 10**7, "crores": 10**7, "dozen": 12}
_MULTIPLES |= {"million": 10**6, "millions": 10**6, "billion": 10**9, "billions": 10**9, "trillion": 10**12}


def quantities(words: Sequence[str], language: str = "en") -> list[Quantity]:
    """The numbers of a folded text, in their order."""
    found: list[Quantity] = []
    in_words = word_numbers(words, language)
    at = 0
    while at < len(words):
        word = words[at]
        if not word.isalpha() and any(map(str.isdigit, word)):
            at = _digits(words, at, found)
            continue
        if word == "half" and words[at + 1 : at + 2] in (["a"], ["an"]):
            found.append(Quantity(word))
        number = in_words.get(at)
        if number is None:
            at += 1
        else:
            at = _in_words(words, at, number, found)
    return found


def _in_words(words: Sequence[str], at: int, number: WordNumber, found: list[Quantity]) -> int:
    """Notes the number that begins at `at`; returns where to go on."""
    end = at + number.length
    loose = number.loose or _counts_a_list(words, at, end)
    return _with_unit(words, end, number.value, None, loose, found)


def _counts_a_list(words: Sequence[str], start: int, end: int) -> bool:
    """Whether a number is only the length of the answer: "top 10", "five examples", "5 best"."""
    return (start > 0 and words[start - 1] == "top") or (end < len(words) and words[end] in _OF_A_LIST)


def _digits(words: Sequence[str], at: int, found: list[Quantity]) -> int:
    """Reads the word at `at`, which has digits; returns where to go on."""
    parts = _PARTS.split(words[at])
    for part in parts:
        read = _NUMBER.fullmatch(part)
        if read is None:  # gpt4, h2o, b12
            found += [Quantity(_value(digits)) for digits in _DIGITS.findall(part)]
            continue
        sign, digits, rest = read.groups()
        found += [Quantity(_value(more)) for more in _DIGITS.findall(rest)]
        if part is not parts[-1]:
            found.append(Quantity(_value(digits)))
            continue
        if rest in ORDINAL_ENDINGS:
            rest = ""
        value: float | str = _value(digits)
        if rest in _MULTIPLES:
            value, rest = _times(value, rest), ""
        if rest and rest not in UNITS:
            found.append(Quantity(value, SIGNS.get(sign)))
            return at + 1
        following = [rest, *words[at + 1 : at + 4]] if rest else words[at + 1 : at + 4]
        if following[:1] == ["a"] and not rest:
            following = []  # "22.04 a" is no ampere
        loose = _counts_a_list(words, at, at + 1)
        read_on = _with_unit(following, 0, value, SIGNS.get(sign), loose, found)
        return at + max(1, read_on + (not rest))
    return at + 1


def _with_unit(
    words: Sequence[str], at: int, value: float | str, unit: str | None, loose: bool, found: list[Quantity]
) -> int:
    """Notes `value` with the multiple and the unit behind it; returns where to go on."""
    if at < len(words) and words[at] in _MULTIPLES:
        value = _times(value, words[at])
        at += 1
    if at + 1 < len(words) and words[at] in _DEGREES and words[at + 1] in _SCALES:
        unit, at = _SCALES[words[at + 1]], at + 2
    elif unit is None and at < len(words):
        unit = UNITS.get(words[at])
        if words[at] == "per" and list(words[at + 1 : at + 2]) == ["cent"]:
            unit, at = "%", at + 1
        if unit is not None:
            at += 1
    if unit is not None and isinstance(value, str):
        value = _decimal(value)
    one = value == 1 and unit in FACTORS  # "1 inch" is "an inch"
    found.append(Quantity(value, unit, one or (loose and unit is None)))
    return at


def _value(digits: str) -> float | str:
    """Whole numbers as int. 3.10 stays as it is written: as a version it is not 3.1."""
    if re.fullmatch(r"-?\d{1,3}(\.\d{3})*\.000|-?\d{1,3}(\.\d{3}){2,}", digits):
        digits = digits.replace(".", "")  # 1.000.000, as in German or Spanish
    if re.fullmatch(r"-?\d+", digits):
        return int(digits) if len(digits) < 400 else digits
    return digits.replace(",", ".")


def _times(value: float | str, multiple: str) -> float | str:
    number = _decimal(value) if isinstance(value, str) else value
    return number if isinstance(number, str) else number * _MULTIPLES[multiple]


def _decimal(written: str) -> float | str:
    try:
        return float(written)
    except ValueError:
        return written


def unit_words(words: Iterable[str]) -> set[str]:
    """The units that a text names, with or without a number."""
    return {UNITS[word] for word in words if word in UNITS and word not in WRITTEN_AFTER}


def clash(a: Sequence[Quantity], b: Sequence[Quantity]) -> str | None:
    """`number`, `unit` or `date` if a number of one text has no equal in the other, else None. Symmetric, linear."""
    if not a and not b:
        return None
    (here, _), (there, _) = _unmatched(a, b), _unmatched(b, a)
    return here or there


def differ(a: Sequence[Quantity], b: Sequence[Quantity]) -> str | None:
    """`number`, `unit` or `date` if each text has a number that the other lacks, or only one text has numbers, else None.
    One more number beside a common one is no difference, nor is one more year. Symmetric, linear."""
    if not a and not b:
        return None
    (here, loose_here), (there, loose_there) = _unmatched(a, b), _unmatched(b, a)
    if "unit" in (here, there):
        return "unit"
    if loose_here and loose_there and not (here or there):
        return "number"
    if (here and (there or loose_there)) or (there and loose_here):
        return "date" if (here or "date") == (there or "date") == "date" else "number"
    return "number" if "number" in (here, there) and not (a and b) else None


def _unmatched(ones: Sequence[Quantity], others: Sequence[Quantity]) -> tuple[str | None, bool]:
    """The kind of a number of `ones` without an equal among `others`, and whether a loose one has none."""
    units: dict[float | str, list[str | None]] = {}
    for other in others:
        units.setdefault(other.value, []).append(other.unit)
    bases = set(map(_base, others))
    taken: dict[float | str, int] = {}
    kinds, loose = set(), False
    for one in ones:
        theirs = units.get(one.value, ())
        taken[one.value] = taken.get(one.value, 0) + 1
        if theirs and any(_goes_with(one.unit, unit) for unit in theirs):
            if taken[one.value] > len(theirs):
                loose = True  # one more than there
        elif one.unit is not None and _base(one) in bases:
            continue
        elif theirs:
            kinds.add("unit")
        elif one.loose:
            loose = True
        else:
            kinds.add("date" if one.year else "number")
    return next((kind for kind in ("unit", "number", "date") if kind in kinds), None), loose


def _goes_with(one: str | None, other: str | None) -> bool:
    """Whether two units of equal numbers can be the same: a missing unit may be any but percent."""
    return one == other or (one is None and other != "%") or (other is None and one != "%")


def exchanged(a: set[str], b: set[str]) -> bool:
    """Whether each text names a unit that the other does not, of the same dimension."""
    if not a or not b or a == b:
        return False
    return not _measured(a - b).isdisjoint(_measured(b - a))


def _measured(units: set[str]) -> set[str]:
    dimensions = (FACTORS[unit][0] for unit in units)
    return {GROUPS.get(dimension, dimension) for dimension in dimensions}


def operations(words: Sequence[str]) -> set[str]:
    """The arithmetic operations of a text: signs and words between its numbers."""
    return {
        _OPERATIONS[word]
        for at, word in enumerate(words)
        if word in _OPERATIONS and at and (any(map(str.isdigit, words[at - 1])) or len(word) > 3)
    }


def _base(quantity: Quantity) -> tuple[str, float] | None:
    """The quantity in the base unit of its dimension: 1 km and 1000 m are the same."""
    if quantity.unit not in FACTORS or isinstance(quantity.value, str):
        return None
    dimension, factor = FACTORS[quantity.unit]
    return dimension, float(f"{quantity.value * factor:.9g}")
