"""`python -m tests.meta.word_tables [cldr|wordnet]`: writes the generated word tables of the semantic cache.

It needs Babel 2.19 (CLDR) and Debian's wordnet-base, and is run once for a new version of either: the files are committed, with
the licences of what they were taken from. Hand-written tables come first: a name that they have is not taken again.
"""

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from llmctld.semantic.guards.polarity import prefixed
from llmctld.semantic.words import tables
from llmctld.semantic.words.fold import fold, plain
from llmctld.semantic.words.tables import rows, section, sections, words

from tests.meta.wordnet import Synset, WordNet

LANGUAGES = ("de", "fr", "es", "it", "pt", "nl")
Row = tuple[str, list[str]]
"""The name that English has, and the other names."""


def key(name: str) -> str:
    """A name as the tables have it."""
    return plain(fold(name)).replace(" ", "_")


def hand_written() -> dict[str, str]:
    """The names of places that are listed by hand -> the first of their row."""
    return rows(section("names", "places"))


def text(head: str, parts: Iterable[tuple[str, str, Iterable[str]]]) -> str:
    """A file of tables: its head, and (section, comment, lines)."""
    found = "".join(f"# {line}\n" for line in head.splitlines())
    for name, comment, lines in parts:
        found += f"\n[{name}]\n" + "".join(f"# {line}\n" for line in comment.splitlines())
        found += "".join(f"{line}\n" for line in lines)
    return found


# ---- CLDR -----------------------------------------------------------------------------------------------------------

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
LOCATION = "15"
INHABITANT = re.compile(r"\b(native|inhabitant|resident|citizen|person)\b")
LONGEST = 3
"""Words of a name, at most, by which it is found."""
NO_PEOPLE = words("english hindi hebrew persian polish afrikaans tagalog orthodox amerind amerindic")
"""Languages, above all, and words that are said of more than one people."""
NO_OPPOSITES = words("some all no yes other same top side")
NO_NOUNS = words("ape human humans humankind humanity mankind panty pantie")
"""Words that people use for others of their kind."""
CITIES = ("city", "national_capital", "state_capital", "provincial_capital", "port", "town")
NO_CITIES = words("essen bari hamm acre")
NO_UNITS = words("once julio julios")
OTHER_WORDS = words("ora ore secondo secondi nós pie pies voet dag piede piedi libra libras")
"""Names of units that are other words of their language too: units only behind a number."""


def cldr(wordnet: WordNet) -> str:
    from babel import Locale

    locales: dict[str, Any] = {language: Locale(language) for language in LANGUAGES}
    english: Any = Locale("en")
    places: list[tuple[str, dict[str, str]]] = []
    own: dict[str, list[Row]] = {language: [] for language in LANGUAGES}
    known = hand_written()
    for code, name in sorted(english.territories.items()):
        if not (code in CONTINENTS or (len(code) == 2 and code not in NO_PLACES)):
            continue
        first = ENGLISH.get(code) or CONTINENTS.get(code) or key(name)
        first = known.get(first.replace("_", " "), first).replace(" ", "_")
        others = {} if "&" in name else {key(name): "en"}
        for language, locale in locales.items():
            others.setdefault(key(locale.territories.get(code, name)), language)
        places.append((first, others))
    for zone in sorted({zone for locale in (english, *locales.values()) for zone in locale.time_zones}):
        city = zone.rpartition("/")[2].replace("_", " ")  # a language that writes it otherwise says so
        first = key(english.time_zones.get(zone, {}).get("city", city))
        others = {}
        for language, locale in locales.items():
            others.setdefault(key(locale.time_zones.get(zone, {}).get("city", city)), language)
        if zone.count("/") == 1 and not zone.startswith("Etc"):
            places.append((known.get(spaced(first), first).replace(" ", "_"), others))
    taken, together, capital = dict(known), [], []
    for first, others in places:
        row = []
        for other, language in others.items():
            if other == first or spaced(other) in taken or not other[0].isalpha() or other.count("_") >= LONGEST:
                continue
            if language != "en" and ordinary(other, wordnet):
                own[language].append((first, [other]))
            else:
                row.append(other)
                taken[spaced(other)] = first
        if spaced(first) not in taken and ordinary(first, wordnet):
            capital.append(first)
        if row or spaced(first) not in taken:
            together.append((first, row))
            taken[spaced(first)] = first
    head = (
        "Made by tests/meta/word_tables.py from the Unicode CLDR: names in German, French, Spanish, Italian, Portuguese, Dutch.\n"
        "Copyright © 2004-2025 Unicode, Inc. The licence is in LICENSE.unicode."
    )
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
    return text(head, found)


def ordinary(name: str, wordnet: WordNet) -> bool:
    """Whether a name is another word in English, and no place."""
    senses = [sense for table in wordnet.senses.values() for sense in table.get(name, ())]
    return any(wordnet.synsets[sense].subject != LOCATION for sense in senses)


def lines(found: Iterable[Row]) -> list[str]:
    return [" ".join((first, *others)) for first, others in found]


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


# ---- WordNet --------------------------------------------------------------------------------------------------------

KINDS = {
    "animal": ["animal#1"], "plant": ["plant#2"], "food": ["food#2", "foodstuff#2"], "drink": ["beverage#1"],
    "clothing": ["clothing#1"], "vehicle": ["vehicle#1"], "instrument": ["musical_instrument#1"], "disease": ["disease#1"],
    "sport": ["sport#1"], "material": ["fabric#1", "metal#1", "metal#2"], "gem": ["gemstone#1"], "building": ["building#1"],
    "furniture": ["furniture#1"], "tool": ["tool#1"], "household": ["home_appliance#1", "kitchen_utensil#1"],
    "dance": ["dance#3"], "weapon": ["weapon#1"], "chemical": ["chemical_element#1"],
}  # fmt: skip
"""Kind of nouns.txt, or a new one -> the senses at its top."""


def wordnet(net: WordNet) -> str:
    return text(
        "Made by tests/meta/word_tables.py from WordNet 3.0. Copyright 2006 by Princeton University. All rights reserved.\n"
        "The licence is in LICENSE.wordnet.",
        [
            ("people", "Inhabitants and adjectives of places of names.txt.", lines(people(net))),
            ("cities", "Cities that are nothing else.", cities(net)),
            ("people with a capital", "The same, where the word is another one in lower case.", lines(people(net, other=True))),
            *((f"nouns {kind}", "", found) for kind, tops in KINDS.items() if (found := nouns(net, tops))),
            ("opposites", "Adjectives and nouns, as in opposites.txt.", opposites(net)),
        ],
    )  # fmt: skip


def people(net: WordNet, other: bool = False) -> list[Row]:
    """Words of one place only. `other`: those that are other words in lower case."""
    known = hand_written()
    of: dict[str, set[str]] = {}
    for synset in net.synsets.values():
        symbols = ("\\",) if synset.id[0] == "a" else ("#m",) if INHABITANT.search(synset.gloss) else ()
        places = [place for place in synset.to(*symbols) if place[0] == "n"] if symbols else []
        for place in places:
            first = next((known[name] for name in map(spaced, net.synsets[place].words) if name in known), None)
            for word in synset.words if first else ():
                if word[:1].isupper() and word.isalpha() and key(word) not in known and key(word) not in NO_PEOPLE:
                    of.setdefault(key(word), set()).add(str(first))
                    if synset.id[0] == "n" and not word.endswith(("s", "h")):
                        plural = key(word)[:-2] + "en" if word.endswith(("man", "woman")) else key(word) + "s"
                        of.setdefault(plural, set()).add(str(first))
    found: dict[str, list[str]] = {}
    for word, firsts in of.items():
        if len(firsts) == 1 and (word in net.senses["v"] or lower(net, word.removesuffix("s"))) == other:
            found.setdefault(min(firsts).replace(" ", "_"), []).append(word)
    return sorted(found.items())


def cities(net: WordNet) -> list[str]:
    """Their names, one city a line."""
    known = hand_written()
    kinds = {net.senses["n"][kind][0] for kind in CITIES}
    found = []
    for synset in net.synsets.values():
        if kinds.isdisjoint(synset.to("@i")):
            continue
        names = [key(word) for word in synset.words if word[:1].isupper() and word.isalpha()]
        names = [name for name in names if not ordinary(name, net) and name not in NO_CITIES]
        first = next((known[name] for name in map(spaced, synset.words) if name in known), None)
        new = [name for name in dict.fromkeys(names) if name not in known]
        if new:
            found.append(" ".join(([first.replace(" ", "_")] if first else []) + new))
    return found


def spaced(word: str) -> str:
    return word.replace("_", " ").casefold()


def lower(net: WordNet, name: str) -> bool:
    """Whether WordNet writes the name in lower case somewhere."""
    return any(name in net.synsets[synset].words for table in net.senses.values() for synset in table.get(name, ()))


def nouns(net: WordNet, tops: list[str]) -> list[str]:
    """Things under `tops`, one a line: the lowest in the tree, with names that are no other words. What stands under a thing of
    nouns.txt is left out."""
    things = " ".join(line for lines in sections("nouns").values() for line in lines)
    listed = {spaced(word) for word in things.replace(",", " ").split()}
    tree = set().union(*(net.below(sense(net, top)) for top in tops))
    found = []
    for synset in sorted(tree):
        first = net.synsets[synset].words[0]
        if not all(any(first in word for word in net.synsets[kind].words) for kind in net.synsets[synset].to("~")):
            continue  # but walrus: Atlantic walrus, Pacific walrus
        if any(spaced(word) in listed for above in net.above(synset) & tree for word in net.synsets[above].words):
            continue
        if any(spaced(word) in listed for word in net.synsets[synset].words):
            continue
        names = [word for word in net.synsets[synset].words if fits(net, word, tree)]
        if names:
            found.append(" ".join(dict.fromkeys(names)))
    return found


def fits(net: WordNet, word: str, tree: set[str]) -> bool:
    """Whether a word in lower case stands for this thing, as far as WordNet knows, and for nothing else."""
    if not word.isalpha() or not word.islower() or len(word) < 3 or word in NO_NOUNS:
        return False
    return not any(word in net.senses[pos] for pos in "var") and set(net.senses["n"].get(word, ())) <= tree


def sense(net: WordNet, top: str) -> str:
    lemma, _, number = top.partition("#")
    return net.senses["n"][lemma][int(number) - 1]


def opposites(net: WordNet) -> list[str]:
    """Pairs of antonyms that texts have, that no prefix tells, and that no table by hand has."""
    listed = {word for lines in sections("opposites").values() for word in " ".join(lines).split()}
    found: dict[frozenset[str], str] = {}
    for synset in net.synsets.values():
        for pointer in synset.pointers if synset.id[0] in "an" else ():
            if pointer.symbol != "!":
                continue
            other = net.synsets[pointer.synset]
            pair = synset.words[pointer.source - 1], other.words[pointer.target - 1]
            common = all(main(net, word, of) for word, of in zip(pair, (synset, other), strict=True))
            if (
                common
                and NO_OPPOSITES.isdisjoint(pair)
                and not prefixed(set(pair[:1]), set(pair[1:]))
                and not listed.issuperset(pair)
            ):
                found.setdefault(frozenset(pair), " | ".join(pair))
    return list(found.values())


def main(net: WordNet, word: str, synset: Synset) -> bool:
    """Whether a word is one in lower case, whose most frequent sense this is, and which was seen in texts."""
    pos = synset.id[0]
    return word.isalpha() and word.islower() and net.senses[pos][word][0] == synset.id and (pos + word, "1") in net.seen


FILES: dict[str, Callable[[WordNet], str]] = {"cldr": cldr, "wordnet": wordnet}


if __name__ == "__main__":
    for name in sys.argv[1:] or FILES:
        path: Path = tables.FOLDER / f"{name}.txt"
        path.write_text(FILES[name](WordNet()), encoding="utf-8")
        print(f"wrote {path}", file=sys.stderr)
