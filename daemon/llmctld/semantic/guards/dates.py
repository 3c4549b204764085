"""Guard `date`: months, days of the week, feasts, decades, and times relative to today.

Years and hours are numbers: `numbers.py` compares them.
"""

from collections.abc import Sequence

from llmctld.semantic.words.tables import rows, section, words

_MONTHS_TOO = words("may march mar mai mars mayo marzo märz")  # also other words
_NAMED = {name: date for name, date in rows(section("cldr", "dates")).items() if name not in _MONTHS_TOO}
_NAMED |= rows(section("dates", "dates"))
_ERA = words("ad ce")  # an ad is no date
_BEFORE_MONTH = words("in of since until till by on during last next this from before after im en début fin")
_WHICH = words("last next past coming previous upcoming following")
_SPAN = words(
    "second minute hour day week weekend month quarter year decade century semester season summer winter spring autumn night"
)
_COUNTED = words("tomorrow yesterday last next")
_PAST, _FUTURE = words("last past previous"), words("next coming upcoming following")


def dates(folded: Sequence[str], language: str | None) -> set[str]:
    """The dates of a folded text. "Now" and "today" are none."""
    found = set()
    for at, word in enumerate(folded):
        word = word[:-2] if word.endswith("'s") else word
        phrase = f"{word} {folded[at + 1]}" if at + 1 < len(folded) else ""
        if phrase in _NAMED:  # segunda feira
            found.add(_NAMED[phrase])
        elif (
            word in _NAMED and not (word == "hier" and language != "fr") and not (word == "morgen" and language != "de")
        ):
            found.add(_NAMED[word])
        elif word[-2:] in ("am", "pm") and _is_hour(folded, at):
            found.add(word[-2:])
        elif word in _ERA and at and (folded[at - 1][:1].isdigit() or folded[at - 1] in ("century", "year")):
            found.add("ad")
        elif word in _MONTHS_TOO and _is_month(folded, at):
            found.add({"mar": "march", "mai": "may", "mars": "march", "mayo": "may"}.get(word, word))
        elif word in _SPAN and at and folded[at - 1] in _WHICH and not "".join(folded[at + 1 : at + 2]).isdigit():
            found.add(f"{_direction(folded[at - 1])} {word}")
    return found


def differ(a: set[str], b: set[str]) -> bool:
    """Whether each text has a date that the other lacks, or only one text has a date relative to today."""
    if a == b:
        return False
    return bool(a - b and b - a) or any(date.split()[0] in _COUNTED for date in a ^ b)


def _direction(word: str) -> str:
    return "last" if word in _PAST else "next" if word in _FUTURE else word


def _is_hour(folded: Sequence[str], at: int) -> bool:
    """3pm, 3 pm"""
    before = folded[at][:-2] or (folded[at - 1] if at else "")
    return before[:1].isdigit()


def _is_month(folded: Sequence[str], at: int) -> bool:
    before = folded[at - 1] if at else ""
    after = folded[at + 1] if at + 1 < len(folded) else ""
    return before in _BEFORE_MONTH or before[:1].isdigit() or after[:1].isdigit()
