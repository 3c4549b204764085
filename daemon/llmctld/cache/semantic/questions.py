"""What kind of thing a question asks for: a person, a time, a place, a reason, a way, an amount, a yes or no.

Only pairs of kinds that people do not use for one another are held apart: "how do I", "what is the best way to", "can I", and
"where can I" are asked for the same answer.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmctld.cache.semantic.tables import words


class Asked(NamedTuple):
    """`kind`: of the first question, None where there is none; `kinds`: of all that the text mentions."""

    kind: str | None
    kinds: frozenset[str]


_WORDS = {
    "person": "who whom whose wer wen qui quién",
    "time": "when wann quand cuándo",
    "place": "where wo où dónde",
    "reason": "why warum wieso weshalb pourquoi",
    "way": "how wie comment cómo",
    "thing": "what which was welche welcher welches quel quelle quelles qué cuál",
}
_KINDS = {word: kind for kind, row in _WORDS.items() for word in row.split()}
_AFTER_HOW = {
    "many": "amount",
    "much": "amount",
    "long": "duration",
    "old": "age",
    "far": "distance",
    "often": "frequency",
    "come": "reason",
    "viele": "amount",
    "viel": "amount",
    "lange": "duration",
    "alt": "age",
}
_MEANT = {
    "person": """person people singer actor actress player leader author inventor founder candidate name country nation team
    company club party artist band character president king queen""",
    "time": "time date year day month century",
    "place": """place places city country state town shop store site website spot spots service platform app channel
    university school college hospital hotel restaurant center centre location address capital""",
    "reason": "reason reasons cause causes purpose because",
    "way": "way ways method methods steps",
    "amount": """number amount price cost percent percentage ratio salary minimum maximum budget population count total
    quantity rate size length height weight speed depth width temperature value fee fees worth""",
    "duration": "time duration hours days weeks months years",
    "age": "age old",
    "distance": "distance miles km kilometers kilometres meters metres",
    "frequency": "times frequency",
}
_MEANINGS: dict[str, set[str]] = {}
for _kind, _row in _MEANT.items():
    for _word in _row.split():
        _MEANINGS.setdefault(_word, set()).add(_kind)

_AUXILIARY = words(
    """
    is are was were do does did can could will would should has have had am may shall must might
    ist sind war waren wird werden kann hat haben wurde est sont était peut a ont es son era fue está puede ha
    """
)
_YES_NO = words(
    "is are was were do does did can could will would should has have had am may shall must might ist sind kann hat"
)
_ALONE = words("reason person amount age distance duration frequency time place")
"""Kinds that are not asked for by one another's words."""
_MORE = """
    person/thing amount/thing place/thing person/yes-no amount/yes-no reason/yes-no reason/way person/way amount/way age/way
"""


def _pairs(row: Iterable[str]) -> set[frozenset[str]]:
    return {frozenset(pair.split("/")) for pair in row}


_APART = {frozenset((a, b)) for a in _ALONE for b in _ALONE if a != b} | _pairs(words(_MORE))


def asked(folded: Sequence[str]) -> Asked:
    """What a folded text asks for."""
    first: str | None = None
    kinds: set[str] = set()
    for at, word in enumerate(folded[:80]):
        kind = _KINDS.get(word)
        if kind is None:
            kinds |= _MEANINGS.get(word, kinds)
            if at == 0 and word in _YES_NO:
                first = "yes-no"
            continue
        following = folded[at + 1] if at + 1 < len(folded) else ""
        if kind == "way":
            kind = _AFTER_HOW.get(following, kind)
        kinds.add(kind)
        if (
            first is None
            and (at < 2 or kind in ("way", "reason", "thing"))
            and (kind != "time" or following in _AUXILIARY)
        ):
            first = kind
    if first is not None:
        kinds.add(first)
    return Asked(first, frozenset(kinds))


def differ(a: Asked, b: Asked) -> bool:
    """Whether two questions ask for kinds of things that are never the same, and neither mentions the other's."""
    if a.kind is None or b.kind is None or frozenset((a.kind, b.kind)) not in _APART:
        return False
    return a.kind not in b.kinds and b.kind not in a.kinds
