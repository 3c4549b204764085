"""What kind of thing a question asks for: a person, a time, a place, a reason, a way, an amount, a yes or no.

Kinds that people use for one another are one kind here: "how do I", "what is the best way to", "what should I do to".
"""

from collections.abc import Sequence

from llmctld.cache.semantic.tables import words

_WORDS = {
    "person": "who whom whose wer wen qui quién",
    "time": "when wann quand cuándo",
    "place": "where wo où dónde",
    "reason": "why warum wieso weshalb pourquoi",
    "way": "how wie comment cómo",
    "thing": "what which welche welcher welches quel quelle quelles qué cuál",
}
_KINDS = {word: kind for kind, row in _WORDS.items() for word in row.split()}
_HOW = {
    "many": "amount",
    "much": "amount",
    "long": "duration",
    "old": "age",
    "far": "distance",
    "often": "frequency",
    "come": "reason",
}
_YES_NO = words("is are was were do does did can could will would should has have had am may shall must ist sind kann")


def kind(folded: Sequence[str]) -> str | None:
    """What the first question of a text asks for; "thing" is anything, None: no question."""
    for at, word in enumerate(folded[:40]):
        if word in _KINDS:
            following = folded[at + 1] if at + 1 < len(folded) else ""
            return _HOW.get(following, "way") if word == "how" else _KINDS[word]
        if at == 0 and word in _YES_NO:
            return "yes-no"
    return None


def differ(a: str | None, b: str | None) -> bool:
    return a != b
