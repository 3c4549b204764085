"""Opposites and negations, from opposites.txt and wordnet.txt.

A line is a scale with two sides. The regular forms of English verbs are made here.
"""

from functools import cache

from llmctld.semantic.words.tables import by_name, section, sections, words

NEGATORS = {language: words(row) for language, row in by_name(section("opposites", "negations")).items()}
"""Words that negate, by language."""

EXCHANGED = {
    "over": "under",
    "hyper": "hypo",
    "pre": "post",
    "macro": "micro",
    "inter": "intra",
    "endo": "exo",
    "mono": "poly",
}
"""Prefixes that make opposites of one word: overactive, underactive."""

PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "mis", "anti", "de")


@cache
def scales(language: str) -> dict[str, tuple[tuple[int, int], ...]]:
    """Each form of a word in the language's table -> (scale, side) for all its scales."""
    table: dict[str, set[tuple[int, int]]] = {}
    tables = sections("opposites")
    irregular = {line.split()[0]: line.split() for line in tables["irregular"]}
    lines = [(line, False) for line in tables.get(language, tables["en"])]
    if language == "en" or language not in tables:
        lines += [(line, False) for line in sections("wordnet")["opposites"]]
        lines += [(line, True) for line in tables["verbs"]]
    for scale, (line, verbs) in enumerate(lines):
        for side, half in enumerate(line.split(" | ")):
            for word in half.split():
                for form in _forms(word, irregular) if verbs else (word,):
                    table.setdefault(form.replace("_", " "), set()).add((scale, side))
    return {word: tuple(sorted(places)) for word, places in table.items()}


def _forms(verb: str, irregular: dict[str, list[str]]) -> set[str]:
    stem, _, particle = verb.partition("_")
    forms = {stem, *irregular.get(stem, ()), *inflected(stem)}
    return {f"{form}_{particle}" if particle else form for form in forms}


def inflected(verb: str) -> set[str]:
    """The regular forms of an English verb, and some that are none."""
    if verb.endswith("e"):
        return {verb + "s", verb + "d", verb[:-1] + "ing", verb + "r"}
    if verb.endswith("y") and verb[-2] not in "aeou":
        return {verb[:-1] + "ies", verb[:-1] + "ied", verb + "ing"}
    forms = {verb + "ed", verb + "ing", verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z")) else "s")}
    if verb[-1] not in "aeiouwxy" and verb[-2] in "aeiou" and (len(verb) < 3 or verb[-3] not in "aeiou"):
        forms |= {verb + verb[-1] + "ed", verb + verb[-1] + "ing"}
    return forms


@cache
def phrase_starts(language: str) -> frozenset[str]:
    """The first words of the scales' phrases (turn on, log out)."""
    return frozenset(word.split()[0] for word in scales(language) if " " in word)
