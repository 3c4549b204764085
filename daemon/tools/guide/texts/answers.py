"""The answers and the patterns of their questions, as they stand in answers.yaml.

It knows the file and its hash; how a question is varied is elsewhere (phrasings), and so is whether a command exists (measure).
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

HERE = Path(__file__).parent
SOURCE = HERE / "answers.yaml"
PEOPLE = HERE / "people.yaml"
"""Whole questions for each answer, as people type them."""
SHELL = re.compile(
    r"^(?:[A-Z_]+=\S+ )*"
    r"(?:llmctl(?! is )|make|pip|from|keyring|export|(?:cat|echo|printf|cut|git)\b.*\| (?:xargs .*)?llmctl)\b.*",
    flags=re.M,
)
"""How a command line begins in an answer: at the start of a line. "llmctl is ..." begins a sentence."""


@dataclass(frozen=True)
class Entry:
    """One answer, and patterns of the questions that it answers."""

    name: str
    answer: str
    do: tuple[str, ...]
    say: tuple[str, ...]
    keys: tuple[str, ...]
    people: tuple[str, ...]

    @property
    def line(self) -> str:
        """Its first command line."""
        return command_line(self.answer) or ""


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """All answers, in the order of the file. Raises ValueError if one lacks a part or two are the same."""
    people = yaml.safe_load(PEOPLE.read_text(encoding="utf-8"))
    rows = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    if unknown := people.keys() - rows.keys():
        raise ValueError(f"{PEOPLE.name} has questions for answers that do not exist: {', '.join(sorted(unknown))}")
    found = tuple(_entry(name, row, people.get(name, "")) for name, row in rows.items())
    if len({entry.answer for entry in found}) != len(found):
        raise ValueError(f"two answers in {SOURCE.name} are the same")
    return found


def corpus() -> str:
    """Hash of the answers and questions: the model's file names the one that it was trained on."""
    return hashlib.sha256(SOURCE.read_bytes() + PEOPLE.read_bytes()).hexdigest()


def command_line(answer: str) -> str | None:
    """The first command line of an answer, as a person would copy it; None if there is none."""
    found = SHELL.search(answer)
    return found[0] if found else None


def command_lines(answer: str) -> list[str]:
    """All command lines of an answer: those on lines of their own, and those between backticks."""
    return SHELL.findall(answer) + [line for line in re.findall(r"`([^`]+)`", answer) if SHELL.match(line)]


def lines(text: str) -> tuple[str, ...]:
    """The patterns of a block, one per line."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _entry(name: str, row: dict[str, str], people: str) -> Entry:
    if set(row) != {"answer", "do", "say", "keys"}:
        raise ValueError(f"{SOURCE.name}: {name} has {sorted(row)}, and must have answer, do, say and keys")
    do, say, keys = (lines(row[part]) for part in ("do", "say", "keys"))
    return Entry(name, row["answer"].strip(), do, say, keys, lines(people))
