"""Guard `question`: the kind of thing that a question asks for, such as a person, a time, a reason, an amount, yes or no.

Only kinds that are never asked for in one another's words are told apart: "how do I", "what is the best way to" and "can I"
want the same answer, and so do "why does it" and "how does it".
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmctld.semantic.words.stems import stem
from llmctld.semantic.words.tables import words


class QuestionKind(NamedTuple):
    """The kinds that the first question may ask for, none if the text is no question; all kinds that the text mentions; and the
    stem of what is to be counted."""

    kinds: frozenset[str]
    mentioned: frozenset[str]
    counted: str | None


_WORDS = {
    "person": "who whom whose wer wen qui quién",
    "time": "when wann quand cuándo",
    "place": "where wo où dónde",
    "reason": "why warum wieso weshalb pourquoi",
    "way": "how wie comment cómo",
    "thing": "what which was welche welcher welches quel quelle quelles qué cuál",
}
_KINDS = {word: kind for kind, row in _WORDS.items() for word in row.split()}
_IN = {
    "it": "chi=person quando=time dove=place perché=reason come=way che=thing cosa=thing quale=thing qual=thing",
    "pt": "quem=person quando=time onde=place porque=reason como=way que=thing qual=thing quais=thing",
    "nl": "wie=person wanneer=time waar=place waarom=reason hoe=way wat=thing welke=thing welk=thing",
}
"""Question words of one language, that may be other words elsewhere."""
_KINDS_IN = {
    language: _KINDS | {word: kind for word, _, kind in (pair.partition("=") for pair in row.split())}
    for language, row in _IN.items()
}
_AFTER_HOW = {
    "many": "amount",
    "much": "amount",
    "long": "duration",
    "old": "age",
    "far": "distance",
    "often": "frequency",
    "frequently": "frequency",
    "fast": "speed",
    "tall": "size",
    "high": "size",
    "deep": "size",
    "wide": "size",
    "heavy": "size",
    "big": "size",
    "large": "size",
    "come": "reason",
    "viele": "amount",
    "viel": "amount",
    "lange": "duration",
    "alt": "age",
}
_MEANT = {
    "person": """person people singer actor actress player leader author inventor founder candidate name country nation team
    company club party artist band character president king queen man woman men women scientist writer
    director""",
    "time": "time date year day month century",
    "place": """place places city country state town shop store site website spot spots service platform app channel
    university school college hospital hotel restaurant center centre location address capital""",
    "reason": "reason reasons cause causes purpose because",
    "way": "way ways method methods steps",
    "amount": """number amount price cost percent percentage ratio salary minimum maximum budget population count total
    quantity rate size length height weight speed depth width temperature value fee fees worth""",
    "duration": """time duration seconds minutes hours days weeks months years zeit minuten stunden tage wochen temps minutes
    heures jours tiempo minutos horas días tempo minuti ore tijd uur dagen""",
    "age": "age old",
    "speed": "speed velocity fast",
    "size": "size height depth width length weight tall high deep wide heavy big large",
    "distance": "distance miles km kilometers kilometres meters metres",
    "frequency": "times frequency",
}
_MEANINGS: dict[str, frozenset[str]] = {}
for _kind, _row in _MEANT.items():
    for _word in _row.split():
        for _form in (_word, stem(_word)):
            _MEANINGS[_form] = _MEANINGS.get(_form, frozenset()) | {_kind}

_AUXILIARY = words(
    """
    is are was were do does did can could will would should has have had am may shall must might
    ist sind war waren wird werden kann hat haben wurde est sont était peut a ont es son era fue está puede ha
    """
)
_YES_NO = words(
    "is are was were do does did can could will would should has have had am may shall must might ist sind kann hat"
)
_BEING = words("is are was were 's")
_PERSONS = words("i we you one someone somebody anyone people")
_LITTLE = words("the a an your my our this that of in for on at to")
_ALONE = words("reason person amount age distance duration frequency time place speed size")
"""Kinds that differ from all others here."""
_MORE = """
    person/thing amount/thing place/thing person/being place/being
    person/yes-no amount/yes-no reason/yes-no
    reason/way person/way amount/way age/way time/way frequency/way duration/way distance/way
    person/manner amount/manner age/manner time/manner place/manner frequency/manner duration/manner distance/manner
"""
_NEAR = 5
"""Words behind "what is" among which an "of" is looked for: "what is the height of"."""


def _pairs(row: Iterable[str]) -> set[frozenset[str]]:
    return {frozenset(pair.split("/")) for pair in row}


_APART = {frozenset((a, b)) for a in _ALONE for b in _ALONE if a != b} | _pairs(words(_MORE))


def asked_kinds(folded: Sequence[str], language: str = "en") -> QuestionKind:
    """The kinds of things that a folded text asks for."""
    kinds_of = _KINDS_IN.get(language, _KINDS)
    first: frozenset[str] = frozenset()
    mentioned: set[str] = set()
    counted: str | None = None
    for at, word in enumerate(folded[:80]):
        kind = kinds_of.get(word)
        if kind is None:
            mentioned |= _meanings(word)
            if at == 0 and word in _YES_NO:
                first = frozenset(("yes-no",))
            continue
        kinds = _way(folded, at) if kind == "way" else _thing(folded, at) if kind == "thing" else frozenset((kind,))
        if kind != "thing":
            mentioned |= kinds
        following = folded[at + 1] if at + 1 < len(folded) else ""
        if (
            not first
            and (at < 2 or (kind in ("way", "reason", "thing") and following not in _AFTER_HOW))
            and (kind != "time" or following in _AUXILIARY)
        ):
            first = kinds
            if following in ("many", "much") and at + 2 < len(folded):
                counted = _counted(folded[at + 2])
    return QuestionKind(first, frozenset(mentioned | first), counted)


def _way(folded: Sequence[str], at: int) -> frozenset[str]:
    """Behind "how": an amount and its like, a way to do something, or the manner in which something happens."""
    following, then = (*folded[at + 1 : at + 3], "", "")[:2]
    if following in _AFTER_HOW:
        kind = _AFTER_HOW[following]
        return frozenset((kind, *_meanings(then))) if kind == "amount" else frozenset((kind,))
    happens = following in _AUXILIARY and then not in _PERSONS
    return frozenset(("manner" if happens else "way",))


def _thing(folded: Sequence[str], at: int) -> frozenset[str]:
    """Behind "what" or "which": what the next noun stands for ("which year"), or the one before an "of"."""
    following = folded[at + 1] if at + 1 < len(folded) else ""
    if following in _BEING:
        nouns = folded[at + 2 : at + 2 + _NEAR]
        return (_meanings(nouns[nouns.index("of") - 1]) if "of" in nouns[1:] else None) or frozenset(("being",))
    if following in _AUXILIARY or following in _PERSONS or not following:
        return frozenset(("thing",))
    return _meanings(following) or frozenset(("being", "person", "place"))


def _meanings(noun: str) -> frozenset[str]:
    return _MEANINGS.get(noun) or _MEANINGS.get(stem(noun), frozenset())


def _counted(noun: str) -> str | None:
    return None if noun in _AUXILIARY or noun in _LITTLE or noun in _PERSONS else stem(noun)


def differ(a: QuestionKind, b: QuestionKind) -> bool:
    """Whether two questions ask for kinds that are never the same, and neither mentions that of the other; or for the number of
    different things."""
    if a.counted and b.counted and a.counted != b.counted:
        return True
    if not a.kinds or not b.kinds or any(frozenset((one, other)) not in _APART for one in a.kinds for other in b.kinds):
        return False
    return a.kinds.isdisjoint(b.mentioned) and b.kinds.isdisjoint(a.mentioned)
