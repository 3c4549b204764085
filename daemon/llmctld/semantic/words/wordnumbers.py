"""Numbers that are written as words, in English, German, French and Spanish."""

from collections.abc import Sequence
from functools import cache

from llmctld.semantic.words import tables

ORDINAL_ENDINGS = frozenset(("st", "nd", "rd", "th", ".", "er", "ère", "e", "º", "ª", "o"))
_ROMAN = (
    "ii=2 iii=3 iv=4 vii=7 viii=8 ix=9 xii=12 xiii=13 xiv=14 xvi=16 xvii=17 xviii=18 xix=19 xxi=21 wwi=1 wwii=2 wwiii=3"
)
ROMAN = {word: int(value) for word, _, value in (pair.partition("=") for pair in tables.words(_ROMAN))}

_CARDINALS = {
    "en": """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
             seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety""",
    "fr": """zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize
             dix-sept dix-huit dix-neuf vingt trente quarante cinquante soixante septante huitante nonante""",
    "es": """cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis
             diecisiete dieciocho diecinueve veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa""",
    "de": """null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn
             siebzehn achtzehn neunzehn zwanzig dreissig vierzig fünfzig sechzig siebzig achtzig neunzig""",
}
_ORDINALS = """zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
               fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"""
_SCALES = {
    "en": {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "lakh": 10**5,
           "crore": 10**7, "dozen": 12},
    "fr": {"cent": 100, "cents": 100, "mille": 10**3, "million": 10**6, "millions": 10**6, "milliard": 10**9},
    "es": {"cien": 100, "ciento": 100, "mil": 10**3, "millón": 10**6, "millones": 10**6},
    "de": {"hundert": 100, "tausend": 10**3, "million": 10**6, "millionen": 10**6, "milliarde": 10**9,
           "milliarden": 10**9},
}  # fmt: skip
_EXTRA = {
    "en": {"twice": 2, "thrice": 3},
    "fr": {"une": 1, "premier": 1, "première": 1, "deuxième": 2, "troisième": 3, "vingts": 20},
    "es": {"una": 1, "un": 1, "primero": 1, "primera": 1, "segundo": 2, "tercero": 3,
           **{f"veinti{end}": 20 + value for end, value in zip(
               ("uno", "dós", "trés", "cuatro", "cinco", "séis", "siete", "ocho", "nueve"), range(1, 10), strict=True)}},
    "de": {"ein": 1, "eine": 1, "einen": 1, "erste": 1, "ersten": 1, "zweite": 2, "zweiten": 2, "dritte": 3},
}  # fmt: skip
_LOOSE = tables.words(
    """one first once un une uno una ein eine einen eins premier première primero primera erste ersten"""
)
_AND = {"en": "and", "fr": "et", "es": "y", "de": "und"}
_NOT_BEFORE_SECOND = tables.words("a per each every split one")
_VALUES = (*range(21), *range(30, 100, 10))


@cache
def _table(language: str) -> dict[str, int]:
    table = dict(zip(_CARDINALS[language].split(), _VALUES, strict=True))
    table |= _EXTRA[language]
    if language == "en":
        table |= {word: value for value, word in enumerate(_ORDINALS.split())}
        table |= {f"{word[:-1]}ieth": value for word, value in table.items() if word.endswith("ty")}
    if language == "de":  # written as one word: fünfundzwanzig, zweihundertdrei
        ones = {"ein" if word == "eins" else word: value for word, value in table.items() if 0 < value < 10}
        tens = {word: value for word, value in table.items() if value >= 20}
        table |= {f"{one}und{ten}": a + b for one, a in ones.items() for ten, b in tens.items()}
        below = {word: value for word, value in table.items() if 0 < value < 100}
        hundreds = {f"{one}hundert": a * 100 for one, a in ones.items()}
        table |= hundreds | {f"{h}{rest}": a + b for h, a in hundreds.items() for rest, b in below.items()}
    return table


@cache
def firsts(language: str) -> frozenset[str]:
    """The words that a number may begin with."""
    language = language if language in _CARDINALS else "en"
    return frozenset((*ROMAN, *_table(language), *_SCALES[language]))


def word_number(words: Sequence[str], at: int, language: str) -> tuple[int, int, bool]:
    """The number that begins at `at`: (how many words, its value, whether it says nothing by itself); 0 words: none."""
    if words[at] in ROMAN:
        return 1, ROMAN[words[at]], False
    if language not in _CARDINALS:
        language = "en"
    table, scales = _table(language), _SCALES[language]
    total = current = length = 0
    for place in range(at, min(len(words), at + 12)):
        word = words[place]
        value = table.get(word)
        if value is not None and not _meant(words, place, word):
            break
        if value is not None and _joins(current, value, length, language):
            current = _joined(current, value, language)
        elif word in scales:
            scale = scales[word]
            if scale < 1000:
                current = (current or 1) * scale
            else:
                total, current = total + (current or 1) * scale, 0
        elif word == _AND[language] and length and _goes_on(words, place + 1, current, language):
            continue
        else:
            break
        length = place + 1 - at
    return length, total + current, length == 1 and words[at] in _LOOSE


def _goes_on(words: Sequence[str], place: int, current: int, language: str) -> bool:
    """Whether the word at `place`, after an "and", belongs to the same number: a hundred and two, not twenty and two."""
    known = place < len(words) and words[place] in _table(language)
    return known and (current % 100 == 0 or language in ("fr", "es"))


def _meant(words: Sequence[str], place: int, word: str) -> bool:
    return word != "second" or (place > 0 and words[place - 1] not in _NOT_BEFORE_SECOND)


def _joins(current: int, value: int, length: int, language: str) -> bool:
    """Whether `value` goes on with the number that is at `current`: twenty + five, hundred + five, not two + five."""
    if not length:
        return True
    if language == "fr" and (current, value) == (4, 20):
        return True
    if language == "fr" and current % 100 in (60, 80) and value < 20:
        return True
    if language == "fr" and current % 100 == 10 and 7 <= value <= 9:
        return True
    rest = current % 100
    if rest == 0:
        return value < 100
    return (rest >= 20 and rest % 10 == 0 and 0 < value < 10) or (13 <= current <= 20 and 10 <= value < 100)


def _joined(current: int, value: int, language: str) -> int:
    if language == "fr" and (current, value) == (4, 20):
        return 80
    if 13 <= current <= 20 and value >= 10:
        return current * 100 + value  # nineteen eighty
    return current + value
