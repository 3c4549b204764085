"""Guard `name`: the proper names of a text, known ones in any case, others by their capital letters and their shape.

It does not tell a person from a product, and knows two names of one thing only by `known` or as an acronym.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmctld.semantic.words.known import AMBIGUOUS, FIRSTS, KNOWN, LOCAL, PHRASES
from llmctld.semantic.words.tables import words
from llmctld.semantic.words.units import UNITS


class ProperName(NamedTuple):
    """`word` is in lower case, for a known name the first one of its row. `acronym`: all capitals. `group` is equal for names
    side by side (first and last name), 0 for one alone."""

    word: str
    known: bool
    acronym: bool
    group: int = 0


_CAPITAL = re.compile(r"(?<![\w'°])[^\W\d_a-z][\w&+#']*(?:\.(?=[\w])[\w]+)*")
_SMALL = re.compile(r"(?<![\w'-])[a-z]{4,}")
_ELIDED = re.compile(r"(?<=\b[ldnsjLDNSJ])'(?=[^\W\d_])")  # l'Italie
_POSSESSIVE = re.compile(r"'s?$")
_SENTENCE_END = frozenset(".?!:;\u00bf\u00a1\u00ab\n\"\u201c\u201d\u2018(['*•>|")

_ORDINARY = words(
    """
    a an the i i'm i've i'd i'll my me you your he she it its we they their our this that these those there here
    que qué cuál cuándo cómo quién dónde quel quelle quand comment pourquoi wie wer wo wann warum was welche
    el la los le les une un
    what which who whom whose when where why how whats what's who's how's where's
    is are was were am be been being do does did done has have had can could will would shall should may might must
    if in on at of to for from by with without and or but not no yes as than then so because since while during after before
    between about into over under up down out off any all some many much more most few best worst top good bad better new old
    ok dear hi hello please thanks also just only even ever never always often one two three first second last next
    anyone someone everyone everything something nothing nobody people person life god sir madam mr mrs ms dr
    president minister prime pm mr government govt rs inr mr company university st street city state
    give tell explain show write list describe suggest name find make let help is aren't isn't don't can't won't
    """
)


def names(text: str, folded: Sequence[str], language: str = "en") -> list[ProperName]:
    """The names of `text`, whose folded words are `folded`. In German a capital letter does not make a name."""
    text = _ELIDED.sub(" ", text.replace("\u2019", "'"))
    matches = list(_CAPITAL.finditer(text))
    groups = _groups(matches)
    found = {name.word: name for name in _known(text, folded, groups, language)}
    for name in _capitalised(text, matches, groups, language != "de"):
        found.setdefault(name.word, name)
    return list(found.values())


def _groups(matches: Sequence[re.Match[str]]) -> dict[str, int]:
    """Capitalised words in a row -> the number of their group."""
    groups: dict[str, int] = {}
    for place in range(1, len(matches)):
        before, match = matches[place - 1], matches[place]
        if match.start() == before.end() + 1:
            first, second = _plain(before[0]), _plain(match[0])
            if first not in _ORDINARY and second not in _ORDINARY:
                groups[second] = groups.setdefault(first, place)
    return groups


def _plain(shape: str) -> str:
    return _POSSESSIVE.sub("", shape).rstrip(".").casefold()


def _known(text: str, folded: Sequence[str], groups: dict[str, int], language: str) -> Iterable[ProperName]:
    local = LOCAL.get(language, {})
    for at, word in enumerate(folded):
        if word in FIRSTS:
            for length in (3, 2):
                phrase = PHRASES.get(" ".join(folded[at : at + length]))
                if phrase is not None:
                    yield ProperName(phrase, True, False)
                    break
        if word.endswith("'s"):
            word = word[:-2]
        if language == "de" and word not in KNOWN and word.endswith("s"):
            word = word[:-1]  # Frankreichs
        name = local.get(word) if word in local and word.capitalize() in text else KNOWN.get(word)
        if name is not None and (word not in AMBIGUOUS or _has_capital(text, word)):
            yield ProperName(name, True, False, groups.get(word, 0))


def _has_capital(text: str, word: str) -> bool:
    return (word.upper() if len(word) < 4 else word.capitalize()) in text


def _capitalised(
    text: str, matches: Sequence[re.Match[str]], groups: dict[str, int], capitals: bool
) -> Iterable[ProperName]:
    starts = [_starts_sentence(text, match.start()) for match in matches]
    inside = sum(not start and len(match[0]) > 3 for match, start in zip(matches, starts, strict=True))
    if inside >= 3 and _ORDINARY.issuperset(_SMALL.findall(text)):
        capitals = False  # a Title Like This One, or ALL OF IT
    shouted = text.isupper()
    for place, (match, start) in enumerate(zip(matches, starts, strict=True)):
        shape, word = _POSSESSIVE.sub("", match[0]).rstrip("."), _plain(match[0])
        if not word or word in _ORDINARY or word in KNOWN or (len(word) > 2 and word in UNITS):
            continue
        upper = len(shape) > 1 and shape.isupper()
        odd = upper or any(map(str.isupper, shape[1:]))
        followed = place + 1 < len(matches) and matches[place + 1].start() == match.end() + 1
        followed = followed and matches[place + 1][0].casefold() not in _ORDINARY
        if (odd and not shouted) or (capitals and (not start or (followed and len(word) > 2))):
            yield ProperName(word.replace(".", "") if upper else word, False, upper, groups.get(word, 0))


def _starts_sentence(text: str, at: int) -> bool:
    at -= 1
    lowest = at - 8
    while at >= 0 and at > lowest and text[at] in " \t":
        at -= 1
    return at < 0 or text[at] in _SENTENCE_END


class Mentions:
    """Whether a text mentions a name of another text."""

    def __init__(self, folded: Sequence[str], own: Iterable[ProperName]) -> None:
        self._words = {word[:-2] if word.endswith("'s") else word for word in folded}
        self._names = {name.word for name in own}
        self._own = [name for name in own if name.acronym]
        self._folded = folded
        self._joined: str | None = None
        self._initials: tuple[str, str] = ("", "")

    def lacks(self, name: ProperName) -> bool:
        word = name.word
        if word in self._words or word in self._names:
            return False
        if name.known:
            return True
        if f"{word}s" in self._words or (word.endswith("s") and word[:-1] in self._words):
            return False
        return not self._written_otherwise(word)

    def _written_otherwise(self, word: str) -> bool:
        """Whether the text has it as an acronym or written out, in one word or in two."""
        if self._joined is None:
            self._joined = "".join(self._folded)
            small = "".join(word[0] for word in self._folded if word not in ("of", "the", "and", "for", "in"))
            self._initials = ("".join(word[0] for word in self._folded), small)
        if len(word) >= 5:
            return word.replace("-", "") in self._joined
        return len(word) >= 2 and any(word in initials for initials in self._initials)


def exchanged(ones: Sequence[ProperName], others: Sequence[ProperName], mine: Mentions, yours: Mentions) -> bool:
    """Whether each text has a name that the other lacks. A part of a common name ("Donald" of "Donald Trump") is compared only
    with such a part: "Tim Cook" and "Tim Burton" differ, "Donald Trump" and "Trump in America" do not."""
    alone, part = _missing(ones, yours)
    if not alone and not part:
        return False
    alone_there, part_there = _missing(others, mine)
    return (alone and alone_there) or (part and part_there)


def _missing(names: Sequence[ProperName], there: Mentions) -> tuple[bool, bool]:
    """(Is a whole name missing from the other text? Is one part of a name missing while another part of it occurs?)"""
    lacking = [name for name in names if there.lacks(name)]
    if not lacking:
        return False, False
    shared = {name.group for name in names if name.group and name not in lacking}
    parts = sum(name.group in shared for name in lacking)
    return parts < len(lacking), parts > 0
