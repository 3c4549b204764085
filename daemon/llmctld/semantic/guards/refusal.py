"""The table of guards: whether two questions may be equated at all, however similar their vectors are.

Guards compare words, not meanings. They let pass what they cannot tell apart, and refuse what they cannot compare: texts in
two languages or scripts, in a language without tables, or longer than what an embedding model reads.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache

from llmctld.semantic.guards import code, dates, languages, nouns, numbers, order, polarity, questions
from llmctld.semantic.guards.names import Mentions, ProperName, exchanged
from llmctld.semantic.guards.names import names as read_names
from llmctld.semantic.words.fold import LONG, fold, plain, restated

TOO_LONG = "length"
"""The refusal of texts longer than `fold.LONG` characters: an embedding has seen only their beginning."""

LINES = "lines"
"""The refusal of texts of several lines of which a line differs: the question is only a small part of what is compared."""


class TextFeatures:
    """One text as the guards compare it. Each property is computed on first use."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = plain(fold(text)).split()

    @cached_property
    def own(self) -> set[str]:
        return set(self.words)

    @cached_property
    def guess(self) -> languages.DetectedLanguage:
        return languages.detect(self.words)

    @property
    def language(self) -> str:
        """The language whose tables are used; English if it is unknown."""
        return self.guess.language

    @cached_property
    def script(self) -> str:
        return languages.script(self.text)

    @cached_property
    def negations(self) -> list[polarity.Negation]:
        return polarity.negations(self.words, self.language)

    @cached_property
    def stems(self) -> frozenset[str]:
        return polarity.stems(self.words, self.language)

    @cached_property
    def sides(self) -> polarity.Sides:
        return polarity.sides(self.words, self.language)

    @cached_property
    def quantities(self) -> list[numbers.Quantity]:
        return numbers.quantities(self.words, self.language)

    @cached_property
    def operations(self) -> set[str]:
        return numbers.operations(self.words) if self.quantities else set()

    @cached_property
    def units(self) -> set[str]:
        return numbers.unit_words(self.words)

    @cached_property
    def dates(self) -> set[str]:
        return dates.dates(self.words, self.language)

    @cached_property
    def names(self) -> list[ProperName]:
        return read_names(self.text, self.words, self.language)

    @cached_property
    def mentions(self) -> Mentions:
        return Mentions(self.words, self.names)

    @cached_property
    def nouns(self) -> set[nouns.Noun]:
        return nouns.nouns(self.words) if self.language == "en" else set()

    @cached_property
    def code(self) -> set[str]:
        return code.code(self.text, self.words)

    @cached_property
    def spoken_of(self) -> set[str]:
        return languages.named_languages(self.text, self.words, self.language)

    @cached_property
    def triples(self) -> set[order.Triple]:
        return order.triples(self.words, self.language)

    @cached_property
    def asked(self) -> questions.QuestionKind:
        return questions.asked_kinds(self.words, self.language)


def _one_text(one: str, other: str) -> bool:
    """Whether the first lines are restatements and the rest, which may be a program or a letter, is equal."""
    (first, _, rest), (second, _, others) = (text.strip().partition("\n") for text in (one, other))
    return restated(first, second) and rest.split() == others.split()


def _negation(a: TextFeatures, b: TextFeatures) -> bool:
    return (
        polarity.denied(a.negations, b.own, b.stems, b.negations)
        or polarity.denied(b.negations, a.own, a.stems, a.negations)
        or polarity.opposed(a.sides, b.sides)
        or polarity.prefixed(a.own, b.own)
    )


def _number(a: TextFeatures, b: TextFeatures) -> bool:
    if numbers.differ(a.quantities, b.quantities) == "number":
        return True
    return bool(a.operations - b.operations and b.operations - a.operations)


def _unit(a: TextFeatures, b: TextFeatures) -> bool:
    return numbers.differ(a.quantities, b.quantities) == "unit" or numbers.exchanged(a.units, b.units)


def _date(a: TextFeatures, b: TextFeatures) -> bool:
    return dates.differ(a.dates, b.dates) or numbers.differ(a.quantities, b.quantities) == "date"


def _name(a: TextFeatures, b: TextFeatures) -> bool:
    return exchanged(a.names, b.names, a.mentions, b.mentions) or nouns.exchanged(a.nouns, b.nouns)


def _code(a: TextFeatures, b: TextFeatures) -> bool:
    return code.differ(a.code, b.code, a.own, b.own)


def _language(a: TextFeatures, b: TextFeatures) -> bool:
    if (
        a.script != b.script
        or a.script in languages.UNREAD
        or not (a.guess.read and b.guess.read)
        or (a.guess.sure and b.guess.sure and a.language != b.language)
    ):
        return True
    return languages.differ(a.spoken_of, b.spoken_of, a.own, b.own)


def _order(a: TextFeatures, b: TextFeatures) -> bool:
    return order.exchanged(a.triples, b.triples) or order.swapped(a.words, b.words) or order.turned(a.words, b.words)


def _question(a: TextFeatures, b: TextFeatures) -> bool:
    return questions.differ(a.asked, b.asked)


GUARDS: dict[str, Callable[[TextFeatures, TextFeatures], bool]] = {
    "language": _language,
    "negation": _negation,
    "number": _number,
    "unit": _unit,
    "date": _date,
    "code": _code,
    "name": _name,
    "order": _order,
    "question": _question,
}
"""The guards, in the order in which they are asked. True: the two texts may not be equated. Each is symmetric."""


def refusal(new: str, stored: str) -> str | None:
    """The name of the first guard that refuses the pair; None if all let it pass. Symmetric."""
    if len(new) > LONG or len(stored) > LONG:
        return None if restated(new, stored) else TOO_LONG
    if "\n" in new.strip() or "\n" in stored.strip():
        return None if _one_text(new, stored) else LINES
    a, b = text_features(new), text_features(stored)
    if a.words == b.words:  # restated
        return None
    for name, refuses in GUARDS.items():
        if refuses(a, b):
            return name
    return None


@lru_cache(maxsize=512)
def text_features(text: str) -> TextFeatures:
    """A text's features, kept: a new question is compared with each of its neighbours."""
    return TextFeatures(text)
