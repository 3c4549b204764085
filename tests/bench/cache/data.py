"""The question data that the caches are measured on: read from the folder that was given, never from the project.

The `README.md` beside the files says where they come from. Groups are split by the CRC-32 of their decimal number: even ones are
for tuning, odd ones for reporting.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

STREAM, NEAR, PAIRS = "questions_stream.jsonl.gz", "near_pairs.jsonl.gz", "question_pairs.jsonl.gz"


class Question(NamedTuple):
    """Two questions may share an answer exactly when their groups are equal."""

    text: str
    group: int

    @property
    def reported(self) -> bool:
        """Whether it is of the half that nothing is tuned on."""
        return zlib.crc32(str(self.group).encode()) % 2 == 1


class TextPair(NamedTuple):
    a: str
    b: str
    same: bool


def stream(folder: Path) -> list[Question]:
    return [Question(line["text"], line["group"]) for line in _lines(folder / STREAM)]


def near_pairs(folder: Path) -> list[TextPair]:
    """Read one by one."""
    return [TextPair(line["a"], line["b"], bool(line["same"])) for line in _lines(folder / NEAR)]


def question_pairs(folder: Path) -> list[TextPair]:
    """With the published labels, which are noisy."""
    return [TextPair(line["a"], line["b"], bool(line["same"])) for line in _lines(folder / PAIRS)]


def missing(folder: Path) -> list[str]:
    """The files that `folder` lacks."""
    return [name for name in (STREAM, NEAR, PAIRS) if not (folder / name).is_file()]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)
