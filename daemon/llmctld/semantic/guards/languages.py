"""Which language a text is in, and which languages it speaks of: natural ones and those of programs."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from llmctld.semantic.words.tables import rows, words

_COMMON = {
    "en": words("""
        the is are what how do does i you in of to and for a can my it why which who when where from with that be
    """),
    "de": words("""
        der die das ist sind und ich du wie was warum wer wo wann ein eine einen nicht für mit von zu den dem
        kann man im
    """),
    "fr": words("""
        le la les est sont et je tu vous comment que quoi pourquoi qui où quand un une des du dans pour avec de
        ne pas ce quel quelle
    """),
    "es": words("""
        el la los las es son y yo tú cómo qué por quién dónde cuándo un una de en para con del al no se cuál mi
        puedo como que
    """),
    "it": words("""
        il lo la gli è sono e come che perché chi dove quando un una di in per con del non si qual quale mi posso
    """),
    "pt": words("""
        o a os as é são e eu como que porque quem onde quando um uma de em para com do da não se qual posso meu
    """),
    "nl": words("""
        de het een is zijn en ik hoe wat waarom wie waar wanneer niet voor met van te kan mijn dat
    """),
}  # fmt: skip
_ALL_COMMON = frozenset[str]().union(*_COMMON.values())
_COMMON_IN = {word: [name for name, common in _COMMON.items() if word in common] for word in _ALL_COMMON}

_PROGRAMS = rows("""
python python3 py
java
javascript js
typescript ts
c++ cpp
c# csharp
.net dotnet
golang
kotlin
php
perl
ruby
scala
haskell
erlang
elixir
clojure
fortran
cobol
matlab
sql
html html5
css css3
bash
powershell
lua
groovy
ocaml
prolog
lisp
objective-c
assembly assembler
vba
cuda
""")
_PROGRAM_WORDS = rows("""
c
go golang
r
rust
swift
dart
julia
basic
scheme
""")
_PROGRAM_CONTEXT = words(
    "program programs programming language code coding function compiler developer script library array"
)
_PROGRAM_NAMES = frozenset((*_PROGRAMS.values(), *_PROGRAM_WORDS.values()))
_NATURAL = words("""
    english hindi urdu bengali tamil telugu marathi sanskrit persian farsi arabic hebrew mandarin cantonese latin swahili
    esperanto afrikaans catalan basque gaelic yiddish kannada malayalam punjabi gujarati nepali tagalog
    englisch deutsch französisch spanisch anglais allemand espagnol inglés alemán francés español
""")
_AS_LANGUAGE = words(
    "french german spanish italian portuguese dutch russian chinese japanese korean turkish polish greek swedish"
)
_BEFORE_NATURAL = words("in into learn speak speaking learning speaks translate auf en")
_BEFORE_PROGRAM = words("in into using with learn learning to from than or and vs use")


class Guess(NamedTuple):
    """`language`: the likeliest, English where nothing tells; `sure`: enough to say that another language is another."""

    language: str
    sure: bool


def detect(folded: Sequence[str]) -> Guess:
    """The language of a text by its commonest words."""
    counts = dict.fromkeys(_COMMON, 0)
    for word in _ALL_COMMON.intersection(folded[:200]):
        for name in _COMMON_IN[word]:
            counts[name] += 1
    second, best = sorted(counts.values())[-2:]
    likeliest = next(name for name, count in counts.items() if count == best)
    return Guess(likeliest if best else "en", best > 1 and best > second + (best < 5))


UNREAD = words(
    """
    CJK HIRAGANA KATAKANA HANGUL THAI ARABIC HEBREW DEVANAGARI CYRILLIC GREEK BENGALI TAMIL TELUGU GUJARATI GEORGIAN ARMENIAN
    """
)
"""Scripts in which no guard reads: neither a negation nor a number would be seen."""


def script(text: str) -> str:
    """The scripts of the letters of `text`, beginning with the one that has most, as "LATIN" or "CJK HIRAGANA"."""
    if text.isascii():
        return "LATIN"
    counts: dict[str, int] = {}
    for sign in text[:1000]:
        if sign > "\x7f" and sign.isalpha():
            name = unicodedata.name(sign, "?").split()[0]
            counts[name] = counts.get(name, 0) + 1
        elif sign.isalpha():
            counts["LATIN"] = counts.get("LATIN", 0) + 1
    return max(sorted(counts), key=counts.__getitem__) if counts else "LATIN"


def spoken_of(text: str, folded: Sequence[str]) -> set[str]:
    """The languages that a text names."""
    found = set()
    for at, word in enumerate(folded):
        word = word.rstrip("0123456789.") or word
        if word in _PROGRAMS:
            found.add(_PROGRAMS[word])
        elif word in _NATURAL or (word in _AS_LANGUAGE and _named_as_language(folded, at)):
            found.add(word)
        elif word in _PROGRAM_WORDS and _named_as_program(text, folded, at):
            found.add(_PROGRAM_WORDS[word])
    return found


def differ(a: set[str], b: set[str], words_of_a: set[str], words_of_b: set[str]) -> bool:
    """Whether each text names a language that the other does not, or one a programming language and the other none."""
    if a == b:
        return False
    here, there = a - b - words_of_b, b - a - words_of_a
    return bool(here and there) or (not (a and b) and not (here | there).isdisjoint(_PROGRAM_NAMES))


def _named_as_language(folded: Sequence[str], at: int) -> bool:
    after = folded[at + 1] if at + 1 < len(folded) else ""
    return after == "language" or (at > 0 and folded[at - 1] in _BEFORE_NATURAL)


def _named_as_program(text: str, folded: Sequence[str], at: int) -> bool:
    """Small words that are also names of languages: "in go", "c program", "than Rust"."""
    before, after = folded[at - 1] if at else "", folded[at + 1] if at + 1 < len(folded) else ""
    if after in _PROGRAM_CONTEXT:
        return True
    return before in _BEFORE_PROGRAM and (before == "in" or f" {folded[at].capitalize()}" in text)
