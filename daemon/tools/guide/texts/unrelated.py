"""Questions that are not about llmctl, and the refusal: made from word lists of our own.

Half of them are near: the same verb on another tool, often in the very words of a question about llmctl.
"""

import random
from functools import lru_cache
from typing import Any

import yaml
from tools.guide.texts import pattern, phrasings
from tools.guide.texts.answers import HERE, Entry, lines

PEOPLE = 0.65
"""Share of the questions that people wrote."""


@lru_cache(maxsize=1)
def _words() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((HERE / "unrelated.yaml").read_text(encoding="utf-8"))
    found["lists"] = {name: lines(words) if isinstance(words, str) else words for name, words in found["lists"].items()}
    return found | {part: lines(found[part]) for part in ("plain", "near", "foreign", "people")}


def refusal() -> str:
    """The answer to all of them."""
    return str(_words()["answer"]).strip()


def first_words() -> str:
    """How the refusal begins: an answer that begins so is one."""
    return str(_words()["refusal"])


def question(entries: tuple[Entry, ...], rng: random.Random) -> str:
    """One question that is not about llmctl; `entries`: those whose words are borrowed."""
    luck = rng.random()
    if rng.random() < PEOPLE:
        said = phrasings.around(rng.choice(_words()["people"]), rng)
    elif luck < 0.24:
        said = _near(rng)
    elif luck < 0.36:
        said = phrasings.around(_one(rng.choice(_words()["near"]), rng), rng)
    elif luck < 0.52:
        said = _borrowed(entries, rng)
    elif luck < 0.85:
        said = phrasings.around(_one(rng.choice(_words()["plain"]), rng), rng)
    elif luck < 0.93:
        said = _one(rng.choice(_words()["foreign"]), rng)
    else:
        said = _nonsense(rng)
    return phrasings.noisy(said.replace("llmctl", "it"), rng)


def tool(rng: random.Random, but: str = "none") -> str:
    """Another program, of the list `tool` without the list `but`; one in eight has a name that nobody knows."""
    if rng.random() < 0.12:
        return _sound(rng)
    while (name := str(rng.choice(_words()["lists"]["tool"]))) in _words()["lists"].get(but, ()):
        pass
    return name


def _one(text: str, rng: random.Random) -> str:
    return pattern.one(text, _words()["lists"], rng)


def _near(rng: random.Random) -> str:
    deed, frames = rng.choice(_words()["lists"]["deed"]), phrasings._words()["frames"]
    there = phrasings.one(rng.choice(frames), rng).replace("@", _one(deed, rng))
    return phrasings.around(_elsewhere(there, rng), rng)


def _borrowed(entries: tuple[Entry, ...], rng: random.Random) -> str:
    """What a question about llmctl would be, but for the tool that it names."""
    while True:
        entry = rng.choice(entries)
        said = phrasings.core(entry, rng)
        if not {"llmctl", "ollama", "llm"} & set(said.split()):
            return phrasings.synonyms(_elsewhere(said, rng, "both"), rng, 0.2)


def _elsewhere(said: str, rng: random.Random, but: str = "none") -> str:
    name = tool(rng, but)
    luck = rng.random()
    if luck < 0.7:
        return f"{said} {rng.choice(_words()['lists']['in'])} {name}"
    if luck < 0.85:
        return (
            f"{rng.choice(['in', 'with', 'for', 'on', '', ''])} {name}{rng.choice([',', ':', '', ' -'])} {said}".strip()
        )
    return f"{name} {said}" if luck < 0.93 else f"{said} {name}"


def _sound(rng: random.Random) -> str:
    return "".join(rng.choices(_words()["sounds"], k=rng.randint(2, 3)))


def _nonsense(rng: random.Random) -> str:
    luck = rng.random()
    if luck < 0.4:
        return " ".join(
            "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(rng.randint(1, 5))
        )
    if luck < 0.8:
        return " ".join(_sound(rng) for _ in range(rng.randint(1, 6)))
    return "".join(rng.choices("0123456789!?$%&/()=+*#-.,;:_<>", k=rng.randint(1, 12)))
