"""Many ways to ask each question: patterns in frames, other words for words, and what hurried fingers do.

It knows the patterns and word lists; the questions are drawn at random from a seed, without end.
"""

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import yaml
from tools.guide.texts import noise, pattern
from tools.guide.texts.answers import HERE, Entry, lines

KINDS = (("do", 2), ("say", 1), ("keys", 1), ("people", 8))
"""Of twelve questions so many are of each kind."""


@lru_cache(maxsize=1)
def _words() -> dict[str, Any]:
    found = yaml.safe_load((HERE / "words.yaml").read_text(encoding="utf-8"))
    same: dict[str, list[str]] = {}
    for group in found["synonyms"]:
        for word in group:
            same.setdefault(word, []).extend(group)
    return {
        "lists": found["lists"], "same": same, "longest": max(len(word.split()) for word in same),
        "frames": lines(found["frames"]), "before": lines(found["before"]), "behind": lines(found["behind"]),
    }  # fmt: skip


def question(entry: Entry, rng: random.Random) -> str:
    """One question that the entry answers."""
    return noisy(synonyms(around(core(entry, rng), rng), rng, 0.2), rng)


def typed(line: str, rng: random.Random) -> str:
    """A line of people.yaml as somebody else types it."""
    return noisy(synonyms(around(line, rng), rng, 0.2), rng)


def core(entry: Entry, rng: random.Random) -> str:
    """One question in the words of a pattern, without what people put around it."""
    kinds = [(kind, weight) for kind, weight in KINDS if getattr(entry, kind)]
    kind = rng.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
    text = rng.choice(getattr(entry, kind))
    said = text if kind == "people" else one(text, rng)
    if kind == "do":
        frame = one(rng.choice(_words()["frames"]), rng)
        said = frame.replace("@", said)
    elif kind == "keys" and rng.random() < 0.3:
        said = rng.choice(
            [f"llmctl {said}", f"{said} llmctl", f"{said} how", f"how {said}", f"{said} option", f"{said} command"]
        )
    return said


def one(text: str, rng: random.Random) -> str:
    """One text of a pattern, with the word lists of words.yaml."""
    lists: Mapping[str, Sequence[str]] = _words()["lists"]
    return pattern.one(text, lists, rng)


def around(said: str, rng: random.Random) -> str:
    """The question with something before or behind it, sometimes with both."""
    if rng.random() < 0.22:
        said = f"{one(rng.choice(_words()['before']), rng)} {said}"
    if rng.random() < 0.22:
        said = f"{said} {one(rng.choice(_words()['behind']), rng)}"
    return said


def synonyms(said: str, rng: random.Random, rate: float) -> str:
    """Other words for some words."""
    same, longest = _words()["same"], _words()["longest"]
    words, out, at = said.split(), [], 0
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            there = " ".join(words[at : at + length])
            if there in same and rng.random() < rate:
                out.append(rng.choice(same[there]))
                at += length
                break
        else:
            out.append(words[at])
            at += 1
    return " ".join(out)


def noisy(said: str, rng: random.Random) -> str:
    """The question as it is really typed."""
    words = said.split()
    luck = rng.random()
    if luck < 0.25:
        words = noise.thinned(words, rng, 0.5, 0.08)
    elif luck < 0.32 and len(words) < 9:
        words = noise.shuffled(words, rng)
    elif luck < 0.45:
        words = noise.thinned(words, rng, 0.15, 0.04)
    if rng.random() < 0.35:
        words = noise.typos(words, rng, 0.15)
    return noise.marked(" ".join(words), rng).lower()
