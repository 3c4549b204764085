"""The questions by which answers are judged: those that steer the training, and those that were held out from it.

It knows their files; the held-out ones are only counted, never shown.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
HELD = Path(__file__).resolve().parents[4] / "tests" / "guide"


@dataclass(frozen=True)
class Question:
    """A question and the command lines of which a right answer shows one; none if it is not about llmctl."""

    text: str
    right: tuple[str, ...] = ()
    setting: str | None = None
    near: bool = False

    @property
    def about(self) -> bool:
        return bool(self.right)


def development() -> list[Question]:
    """Questions for steering, written by whoever writes the patterns."""
    found = yaml.safe_load((HERE / "development.yaml").read_text(encoding="utf-8"))
    about = []
    for text, right in found["about"].items():
        lines, _, setting = right.partition(";")
        about.append(Question(text, tuple(line.strip() for line in lines.split(",")), setting.strip() or None))
    return about + [Question(str(text)) for text in found["unrelated"]]


def held_out() -> list[Question]:
    """Questions that nobody who writes patterns has read."""
    about = [
        Question(row["question"], tuple(row["right"]), row.get("setting")) for row in _rows(HELD / "held_out.jsonl")
    ]
    return about + [Question(row["question"], near=row.get("near", False)) for row in _rows(HELD / "unrelated.jsonl")]


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
