"""Guard `order`: who does what to whom. "A over B" and "B over A", "from A to B" and "from B to A", "dogs chase cats".

It knows no grammar. It finds three words in a row whose outer two are exchanged in the other text, and texts that are equal
but for two parts that are exchanged.
"""

from collections.abc import Sequence

from llmctld.semantic.words.known import KNOWN
from llmctld.semantic.words.stems import stem
from llmctld.semantic.words.tables import words

_PASSED_OVER = words(
    """
    a an the is are was were be been being am do does did has have had can could will would should shall may might must
    it there that this these those some any much many more most less very really so too also just only each other
    my your his her their our its
    der die das ein eine den dem le la les un une des el los las una
    """
)
_SYMMETRIC = words("and or vs versus vs. between nor with both plus equal equals & = + as like near and/or compared")
_AND = {
    "de": words("und oder"), "fr": words("et ou"), "es": words("y o e u"), "it": words("e o ed"), "pt": words("e ou"),
    "nl": words("en of"),
}  # fmt: skip
_ANDS = frozenset().union(*_AND.values())
_LONGEST = 40
"""Words of a text in which exchanged parts are looked for: that takes the square of their number."""
_BETWEEN = words(
    """
    to into in over than before after by for from of on at under above below through without against about instead rather
    not but per out off onto upon across toward towards via within beside behind past until till
    nach von über vor als statt aus zu in auf à vers sur avant que de a hacia sobre
    """
)
_NO_END = _BETWEEN | _SYMMETRIC
_ASKING = words("who whom which what")
_DO, _BE = words("do does did"), words("is are was were been being be has have had")
_ARTICLES = words("the a an this that my your")
_MAY = words("can could will would shall should may might must")
_IRREGULAR = 1
"""Words in which two texts may differ that ask for the doer and for the one it is done to: "taught" and "teach"."""
_STRONG = words(
    "to into onto over than before after from instead rather not but against nach von über vor statt vers avant que antes"
)
_STEPPED_OVER = words("of than for to by from about over out into against with in on at under")
"""Words that belong to the one before: afraid of, better than, done for."""
_WHERE = words("in at on during under near")
"""Two of these may come in either order: "in 1989 in Berlin"."""
_ONE = {("instead", "of"), ("rather", "than"), ("out", "of")}
_TURNED = {"from": "to", "after": "before", "von": "nach"}
_SAME = {"into": "to", "onto": "to"}

Triple = tuple[str, str, str]


def triples(folded: Sequence[str], language: str) -> set[Triple]:
    """(word, what stands between, word): the outer two are the nearest that are not prepositions."""
    ands = _AND.get(language, frozenset())
    row: list[str] = []
    for word in folded:
        if word in ands:
            row.append("and")
        elif word not in _PASSED_OVER and (row[-1] if row else "", word) not in _ONE:
            row.append(word if word in _NO_END or word.endswith("ing") else stem(word))
    ends = ["" if word in _NO_END else word for word in row]
    found: set[Triple] = set()
    for at, middle in enumerate(row):
        if middle in _SYMMETRIC or (middle in _WHERE and at > 1 and row[at - 2] in _WHERE):
            continue
        if middle in _BETWEEN:
            wide = 2 if middle in _STRONG else 1
            before, after = _nearest(ends, at - 1, -1, wide), _nearest(ends, at + 1, 1, wide)
            if middle in _TURNED and not any(word.endswith("ing") for word in after):  # not: stop them from barking
                middle, before, after = _TURNED[middle], after, before
            middle = _SAME.get(middle, middle)
            found |= {(one, middle, other) for one in before for other in after if one != other}
            continue
        left, right = at - (2 if middle == "love" else 1), at + 1
        if right < len(row) and row[right] in _STEPPED_OVER:
            middle, right = f"{middle} {row[right]}", right + 1
        if left >= 0 and right < len(row) and ends[left] and ends[right] and ends[left] != ends[right]:
            found.add((ends[left], middle, ends[right]))
    return found


def exchanged(a: set[Triple], b: set[Triple]) -> bool:
    """Whether a triple of one text stands in the other with its ends exchanged, and only so. Symmetric."""
    for one, middle, other in a:
        turned = (other, middle, one)
        if turned in b and turned not in a and (one, middle, other) not in b:
            return True
    return False


def swapped(ones: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two folded texts are equal but for two parts that are exchanged around a word with a direction: not "tea or
    coffee" and "coffee or tea". Symmetric."""
    if len(ones) != len(others):
        return False
    mine, yours = _in_common(ones), _in_common(others)
    if mine == yours or sorted(mine) != sorted(yours):
        return False
    start = next(place for place, (a, b) in enumerate(zip(mine, yours, strict=True)) if a != b)
    end = next(place for place, (a, b) in enumerate(zip(reversed(mine), reversed(yours), strict=True)) if a != b)
    whole, mine, yours = mine, mine[start : len(mine) - end], yours[start : len(yours) - end]
    for first in range(1, len(mine) - 1):
        if mine[:first] != yours[len(yours) - first :]:
            continue
        for last in range(1, len(mine) - first):
            between = mine[first : len(mine) - last]
            if mine[len(mine) - last :] + between == yours[: len(yours) - first]:
                between = [word for word in between if word not in _PASSED_OVER]
                where = _WHERE if start and whole[start - 1] in _WHERE else frozenset()  # in 1989 in Berlin
                return not between or not (_SYMMETRIC | _ANDS | where).difference(("as",)).issuperset(between)
    return False


def _in_common(folded: Sequence[str]) -> list[str]:
    """The words by which texts are compared: known names by the first of their row (Indian: india), others by their stems."""
    words = [part for word in folded[:_LONGEST] for part in ((word[:-2], "'s") if word.endswith("'s") else (word,))]
    return ["a" if word == "an" else KNOWN.get(word) or stem(word) for word in words]


def turned(ones: Sequence[str], others: Sequence[str]) -> bool:
    """Whether one folded text asks who does something and the other, in the same words, to whom it is done: "who married Anne",
    "who did Anne marry". Symmetric."""
    mine, yours = _role(ones), _role(others)
    if mine is None or yours is None or mine == yours:
        return False
    here, there = _told(ones), _told(others)
    return bool(here & there) and len(here - there) <= _IRREGULAR and len(there - here) <= _IRREGULAR


def _role(folded: Sequence[str]) -> str | None:
    """Whether a text asks who does something ("does") or to whom it is done ("undergoes"); None if that is unclear."""
    at = next((place for place, word in enumerate(folded[:8]) if word in _ASKING), None)
    if at is None or len(folded) < at + 3 or folded[at + 1] in _ARTICLES:  # what the command does
        return None
    if at and folded[at - 1] == "by":
        return "does"
    for place, word in enumerate(folded[at + 1 : at + 5], at + 1):
        if word in _DO:
            return None if folded[place + 1 : place + 2] == ["you"] else "undergoes"
        if word in _BE:
            return "undergoes" if "by" in folded[place:] else None
        if word in _MAY:
            return None
    return "does"


def _told(folded: Sequence[str]) -> set[str]:
    """The words that two texts must have in common for this."""
    passed = _PASSED_OVER | _ASKING | _DO | _BE | {"by"}
    return {KNOWN.get(word) or stem(word) for word in folded[:_LONGEST] if word not in passed}


def _nearest(ends: Sequence[str], place: int, step: int, count: int) -> list[str]:
    """Up to `count` words from `place` on, until the first that is none."""
    found: list[str] = []
    while 0 <= place < len(ends) and len(found) < count and ends[place]:
        found.append(ends[place])
        place += step
    return found
