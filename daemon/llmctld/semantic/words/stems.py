"""Stems of words, by the Snowball stemmer of their language.

A stem need not be a word. A stemmer is not safe in two threads at once: guards run in one.
"""

from functools import cache

import Stemmer

ALGORITHMS = {
    "en": "english", "de": "german", "fr": "french", "es": "spanish", "it": "italian", "pt": "portuguese", "nl": "dutch",
}  # fmt: skip


@cache
def _stemmer(language: str) -> Stemmer.Stemmer:
    return Stemmer.Stemmer(ALGORITHMS[language])


def stem(word: str, language: str = "en") -> str:
    """`word` without its ending; the "'s" of a possessive is one."""
    return str(_stemmer(language).stemWord(word))
