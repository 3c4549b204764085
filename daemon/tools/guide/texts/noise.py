"""What hurried fingers do to a question: typing mistakes, words left out or in another place, marks and capitals.

It knows letters and words, and nothing of what a question means.
"""

import random

BESIDE = {
    "a": "sqw",
    "b": "vgn",
    "c": "xvd",
    "d": "sfec",
    "e": "wrd",
    "f": "dgr",
    "g": "fht",
    "h": "gjy",
    "i": "uok",
    "j": "hku",
    "k": "jli",
    "l": "kop",
    "m": "nk",
    "n": "bmh",
    "o": "ipl",
    "p": "ol",
    "q": "wa",
    "r": "etf",
    "s": "adw",
    "t": "ryg",
    "u": "yij",
    "v": "cbf",
    "w": "qes",
    "x": "zcs",
    "y": "tuh",
    "z": "xa",
}
"""Keys beside each key."""
SMALL = {
    "a",
    "an",
    "the",
    "i",
    "to",
    "do",
    "is",
    "of",
    "in",
    "my",
    "it",
    "for",
    "on",
    "that",
    "this",
    "me",
    "can",
    "please",
    "from",
    "with",
    "how",
}
"""Words that people leave out first."""
ENDS = ["", "", "", "", "?", "?", "?", ".", "!", "??", " ?", "...", "?!"]


def typo(word: str, rng: random.Random) -> str:
    """The word with one mistake: two letters swapped, one left out, doubled, or the key beside."""
    at = rng.randrange(len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[: at + 1] + word[at:]
    return word[:at] + rng.choice(BESIDE.get(word[at], word[at])) + word[at + 1 :]


def typos(words: list[str], rng: random.Random, rate: float) -> list[str]:
    """Each longer word with a mistake at this rate; words with signs or digits are left as they are."""
    return [typo(word, rng) if len(word) > 3 and word.isalpha() and rng.random() < rate else word for word in words]


def thinned(words: list[str], rng: random.Random, small: float, other: float) -> list[str]:
    """Words left out: small ones at one rate, others at another; never all of them."""
    kept = [word for word in words if rng.random() >= (small if word in SMALL else other)]
    return kept or words


def shuffled(words: list[str], rng: random.Random) -> list[str]:
    """The words in another order."""
    return rng.sample(words, len(words))


def marked(text: str, rng: random.Random) -> str:
    """With a mark at its end, or without commas."""
    if rng.random() < 0.3:
        text = text.replace(",", "").replace(":", "")
    return text + rng.choice(ENDS)
