"""cldr.txt: names of places, languages, days and units in other languages than English, out of the Unicode CLDR (by Babel)."""

from typing import Any

from llmctld.semantic.words.fold import fold
from llmctld.semantic.words.tables import rows, section, words

from tests.meta.words.form import Row, hand_written, key, lines, ordinary, spaced, text
from tests.meta.words.wordnet import WordNet

LANGUAGES = ("de", "fr", "es", "it", "pt", "nl")
Place = tuple[str, dict[str, str]]
"""The English name, and each other name with its language."""
HEAD = """\
Made by tests/meta/words from the Unicode CLDR: names in German, French, Spanish, Italian, Portuguese, Dutch.
Copyright © 2004-2025 Unicode, Inc. The licence is in LICENSE.unicode."""
CONTINENTS = {
    "019": "usa",
    "002": "africa",
    "003": "north_america",
    "005": "south_america",
    "142": "asia",
    "150": "europe",
}
NO_PLACES = {"ZZ", "QO", "XA", "XB", "EU", "EZ", "UN"}
ENGLISH = {
    "TR": "turkey", "CZ": "czech_republic", "CI": "ivory_coast", "CD": "dr_congo", "CG": "congo", "HK": "hong_kong",
    "MO": "macau", "PS": "palestine", "MM": "myanmar", "GB": "uk", "US": "usa", "CV": "cape_verde", "KR": "south_korea",
    "MK": "north_macedonia", "TL": "east_timor", "LK": "srilanka", "NZ": "newzealand", "AE": "uae",
}  # fmt: skip
"""Territories that English calls otherwise than CLDR does, or the tables do."""
SPOKEN = """
    ar bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km ko ku la lt lv mk ml mn mr
    ms my ne nl no pa pl ps pt ro ru sk sl so sq sr sv sw ta te th tl tr uk ur uz vi yi zh zu
"""
"""The languages whose names are taken."""
UNITS = {
    "mm": "length-millimeter", "cm": "length-centimeter", "m": "length-meter", "km": "length-kilometer", "inch": "length-inch",
    "ft": "length-foot", "yd": "length-yard", "mile": "length-mile", "lightyear": "length-light-year", "acre": "area-acre",
    "hectare": "area-hectare", "mg": "mass-milligram", "g": "mass-gram", "kg": "mass-kilogram", "ton": "mass-tonne",
    "lb": "mass-pound", "oz": "mass-ounce", "s": "duration-second", "min": "duration-minute", "h": "duration-hour",
    "ms": "duration-millisecond", "day": "duration-day", "week": "duration-week", "month": "duration-month",
    "year": "duration-year", "decade": "duration-decade", "century": "duration-century", "ml": "volume-milliliter",
    "l": "volume-liter", "gallon": "volume-gallon", "pint": "volume-pint", "cup": "volume-cup", "tbsp": "volume-tablespoon",
    "tsp": "volume-teaspoon", "knot": "speed-knot", "kb": "digital-kilobyte", "mb": "digital-megabyte",
    "gb": "digital-gigabyte", "tb": "digital-terabyte", "w": "power-watt", "kw": "power-kilowatt", "hp": "power-horsepower",
    "j": "energy-joule", "kcal": "energy-kilocalorie", "cal": "energy-calorie", "hz": "frequency-hertz", "v": "electric-volt",
    "a": "electric-ampere", "px": "graphics-pixel", "degree": "angle-degree", "radian": "angle-radian",
}  # fmt: skip
LONGEST = 3
"""Words of a name, at most, by which it is found."""
NO_NAMES = words(
    """
    oral navidad pasqua reunión riunione la_riunione reunião maurice catar gana camarões damas marchesi marquises comores
    """
)
"""Names of places that are common words in their language: holidays, meetings, shrimps."""
NO_UNITS = words("once julio julios")
"""Names of units that are ordinary words in English or Spanish."""
OTHER_WORDS = words("ora ore secondo secondi nós pie pies voet dag piede piedi libra libras")
"""Names of units that are other words of their language too: units only behind a number."""


def cldr(wordnet: WordNet) -> str:
    """The whole of cldr.txt."""
    from babel import Locale

    locales: dict[str, Any] = {language: Locale(language) for language in LANGUAGES}
    english: Any = Locale("en")
    together, capital, own = sorted_out([*territories(english, locales), *cities(english, locales)], wordnet)
    only_here = "Names that are other words in English: only in this language, with a capital letter."
    of_language = "Languages: the English name, then the name in this language."
    found = [
        ("places", "Countries, continents, cities: the English name, then those of other languages.", lines(together))
    ]
    found.append(("places with a capital", "Those that are other words in lower case.", capital))
    found += [(f"places {language}", only_here, lines(own[language])) for language in LANGUAGES if own[language]]
    found += [(f"languages {name}", of_language, lines(spoken(english, locale))) for name, locale in locales.items()]
    found.append(("dates", "Months and days of the week.", lines(dates(english, locales))))
    found.append(("units", "Units that units.txt has.", lines(units(locales))))
    found.append(("written after", "Units only behind a number.", [written_after(wordnet, locales)]))
    return text(HEAD, found)


def territories(english: Any, locales: dict[str, Any]) -> list[Place]:
    """Countries and continents."""
    places, known = [], hand_written()
    for code, name in sorted(english.territories.items()):
        if not (code in CONTINENTS or (len(code) == 2 and code not in NO_PLACES)):
            continue
        first = ENGLISH.get(code) or CONTINENTS.get(code) or key(name)
        others = {} if "&" in name else {key(name): "en"}
        for language, locale in locales.items():
            others.setdefault(key(locale.territories.get(code, name)), language)
        places.append((known.get(spaced(first), first).replace(" ", "_"), others))
    return places


def cities(english: Any, locales: dict[str, Any]) -> list[Place]:
    """The cities after which time zones are called."""
    places, known = [], hand_written()
    for zone in sorted({zone for locale in (english, *locales.values()) for zone in locale.time_zones}):
        city = zone.rpartition("/")[2].replace("_", " ")  # a language that writes it otherwise says so
        first = key(english.time_zones.get(zone, {}).get("city", city))
        others: dict[str, str] = {}
        for language, locale in locales.items():
            others.setdefault(key(locale.time_zones.get(zone, {}).get("city", city)), language)
        if zone.count("/") == 1 and not zone.startswith("Etc"):
            places.append((known.get(spaced(first), first).replace(" ", "_"), others))
    return places


def sorted_out(places: list[Place], wordnet: WordNet) -> tuple[list[Row], list[str], dict[str, list[Row]]]:
    """Each name once: the rows for all languages, the English names that need a capital letter, and the rows of one language."""
    own: dict[str, list[Row]] = {language: [] for language in LANGUAGES}
    taken, together, capital = hand_written(), [], []
    for first, others in places:
        row = []
        for other, language in others.items():
            if (
                other in NO_NAMES
                or other == first
                or spaced(other) in taken
                or not other[0].isalpha()
                or other.count("_") >= LONGEST
            ):
                continue
            if language != "en" and ordinary(other, wordnet):
                own[language].append((first, [other]))
            else:
                row.append(other)
                taken[spaced(other)] = first
        if first in NO_NAMES:
            continue
        if spaced(first) not in taken and ordinary(first, wordnet):
            capital.append(first)
        if row or spaced(first) not in taken:
            together.append((first, row))
            taken[spaced(first)] = first
    return together, capital, own


def spoken(english: Any, locale: Any) -> list[Row]:
    found = []
    for code in SPOKEN.split():
        first, other = (key(names.languages[code]) for names in (english, locale))
        if "_" not in other:
            found.append((first, [other]))
    return found


def dates(english: Any, locales: dict[str, Any]) -> list[Row]:
    known = rows(section("dates", "dates"))
    found = []
    for what, count in (("months", 12), ("days", 7)):
        for number in range(count):
            names = [
                key(getattr(locale, what)["format"]["wide"][number + (what == "months")])
                for locale in (english, *locales.values())
            ]
            first, *others = dict.fromkeys(names)
            new = [other for other in others if other not in known]
            found.append((first, new))
    return [row for row in found if row[1]]


def units(locales: dict[str, Any]) -> list[Row]:
    from babel.units import format_unit

    known = {
        word for line in section("units", "units").splitlines() for word in line.split(": ")[1].split(" = ")[0].split()
    }
    found = []
    for unit, code in UNITS.items():
        names: dict[str, None] = {}
        for locale in locales.values():
            for count in (1, 2, 1_000_000):
                written = format_unit(count, code, "long", locale=locale)
                name = fold("".join(sign for sign in written if not sign.isdigit()).strip(" .,\u202f\u00a0"))
                if " " not in name and len(name) > 2 and name not in known and name not in NO_UNITS:
                    names[name] = None
        if names:
            found.append((unit, list(names)))
    return found


def written_after(wordnet: WordNet, locales: dict[str, Any]) -> str:
    names = {name for _, others in units(locales) for name in others}
    return " ".join(sorted(OTHER_WORDS | {name for name in names if ordinary(name, wordnet)}))
