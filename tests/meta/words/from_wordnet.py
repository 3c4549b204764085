"""wordnet.txt: inhabitants of places, cities, nouns by kind and opposites, out of WordNet."""

import re

from llmctld.semantic.guards.polarity import prefixed
from llmctld.semantic.words.tables import sections, words

from tests.meta.words.form import Row, hand_written, key, lines, ordinary, spaced, text
from tests.meta.words.wordnet import Synset, WordNet

KINDS = {
    "animal": ["animal#1"], "plant": ["plant#2"], "food": ["food#2", "foodstuff#2"], "drink": ["beverage#1"],
    "clothing": ["clothing#1"], "vehicle": ["vehicle#1"], "instrument": ["musical_instrument#1"], "disease": ["disease#1"],
    "sport": ["sport#1"], "material": ["fabric#1", "metal#1", "metal#2"], "gem": ["gemstone#1"], "building": ["building#1"],
    "furniture": ["furniture#1"], "tool": ["tool#1"], "household": ["home_appliance#1", "kitchen_utensil#1"],
    "dance": ["dance#3"], "weapon": ["weapon#1"], "chemical": ["chemical_element#1"],
}  # fmt: skip
"""Kind of nouns.txt, or a new one -> the senses at its top."""
INHABITANT = re.compile(r"\b(native|inhabitant|resident|citizen|person)\b")
NO_PEOPLE = words("english hindi hebrew persian polish afrikaans tagalog orthodox amerind amerindic")
"""Languages, above all, and words that are said of more than one people."""
NO_OPPOSITES = words("some all no yes other same top side")
"""Words that texts have beside one another, though they ask the same."""
NO_NOUNS = words("ape human humans humankind humanity mankind panty pantie")
"""Words that people use for others of their kind."""
CITIES = ("city", "national_capital", "state_capital", "provincial_capital", "port", "town")
NO_CITIES = words("essen bari hamm acre")
"""Cities whose names are common words in German, or units."""


def wordnet(net: WordNet) -> str:
    """The whole of wordnet.txt."""
    return text(
        "Made by tests/meta/words from WordNet 3.0. Copyright 2006 by Princeton University. All rights reserved.\n"
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
