"""Samples for the training, made on the fly: a chunk of them at a time, each chunk from its own seed.

It knows the texts and token ids. No question that is like one of the held-out questions gets in.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from tools.guide.model.tokens import Tokens, learn
from tools.guide.texts import phrasings, unrelated
from tools.guide.texts.answers import Entry, entries

REFUSAL = "refusal"
"""The name of the answer to what is not about llmctl."""
REFUSED = 0.4
"""Share of questions that are not about llmctl."""
PEOPLE = 0.6
"""Share of the other questions that are lines of people.yaml, each as often as any other; the rest is drawn by answer."""
CHUNK, BATCH = 4096, 128
"""Questions of a chunk and of a batch."""
MARKED, ANSWERS, RECITED = 1536, 1024, 32
"""Questions of a chunk while answers are learned too; answers of it that are learned word by word, and of such a batch."""

Sample = tuple[str, str]
Batch = tuple[list[list[int]], list[list[int]]]


@dataclass(frozen=True)
class Samples:
    """Draws questions with the names of their answers; `taboo` says which questions are too like one that is held out."""

    seed: int
    taboo: Callable[[list[str]], set[str]] = lambda texts: set()
    size: int = CHUNK

    def chunk(self, number: int) -> list[Sample]:
        """The questions of a chunk: always the same ones for a seed and a number."""
        rng = random.Random(f"{self.seed}/{number}")
        all_entries, lines = entries(), people()
        drawn = [_draw(all_entries, lines, rng) for _ in range(self.size)]
        bad = self.taboo([question for question, _ in drawn])
        return [(question, name) for question, name in drawn if question not in bad]


@cache
def people() -> tuple[Sample, ...]:
    """All lines of people.yaml with the names of their answers."""
    return tuple((line, entry.name) for entry in entries() for line in entry.people)


def _draw(all_entries: tuple[Entry, ...], lines: tuple[Sample, ...], rng: random.Random) -> Sample:
    if rng.random() < REFUSED:
        return unrelated.question(all_entries, rng), REFUSAL
    if rng.random() < PEOPLE:
        line, name = rng.choice(lines)
        return phrasings.typed(line, rng), name
    entry = rng.choice(all_entries)
    return phrasings.question(entry, rng), entry.name


def answer(name: str) -> str:
    """The text of the answer of this name."""
    return unrelated.refusal() if name == REFUSAL else {entry.name: entry.answer for entry in entries()}[name]


def vocabulary(samples: Samples) -> Tokens:
    """The tokens, learned from some chunks of questions and from the answers."""
    questions = [question for number in range(-8, 0) for question, _ in samples.chunk(number)]
    names = (REFUSAL, *(entry.name for entry in entries()))
    return learn([f" {question}" for question in questions] + [answer(name) for name in names] * 20, names)


def steps(size: int) -> int:
    """How many batches a chunk of this size has, at most."""
    return -(-size // BATCH) + -(-min(ANSWERS, size) // RECITED)


def batches(drawn: list[Sample], tokens: Tokens, rng: random.Random, recite: bool = True) -> Iterator[Batch]:
    """(prompts, what follows each): the marker alone, or in some batches the whole answer. Alike long ones are together."""
    prompts = tokens.prompts(question for question, _ in drawn)
    rows = sorted(zip(prompts, (name for _, name in drawn), strict=True), key=lambda row: len(row[0]))
    whole = rng.sample(rows, min(ANSWERS, len(rows))) if recite else []
    made = [
        ([prompt for prompt, _ in part], [tokens.answer(name, answer(name)) for _, name in part])
        for part in _parts(whole, RECITED)
    ]
    made += [
        ([prompt for prompt, _ in part], [[tokens.marker(name)] for _, name in part]) for part in _parts(rows, BATCH)
    ]
    yield from rng.sample(made, len(made))


def _parts(rows: list[tuple[list[int], str]], size: int) -> list[list[tuple[list[int], str]]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]
