"""The model card: docs/guide-model.md, written from what was measured.

It knows the figures of a run and the file; nothing in the page is written by hand elsewhere.
"""

import hashlib
from pathlib import Path
from typing import Any

from tools.guide.measure.score import Score, share
from tools.guide.texts.answers import corpus, entries

PAGE = Path(__file__).with_name("card.md")
"""The page, with gaps for the figures."""


def card(file: Path, facts: dict[str, Any], rows: dict[str, Score], limit: float, longest: int, refusal: str) -> str:
    """The page for this file; `facts` are those of the run, `rows` the scores by name."""
    return PAGE.read_text(encoding="utf-8").format(
        **facts, size=file.stat().st_size, sha=sha256(file), corpus=corpus(), answers=len(entries()),
        rows="\n".join(_row(name, score) for name, score in rows.items()), limit=limit, longest=longest, refusal=refusal,
    )  # fmt: skip


def sha256(file: Path) -> str:
    """Hash of the file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _row(name: str, score: Score) -> str:
    cells = [
        share(score.right, score.about), share(score.false_refusals, score.about),
        share(score.refused, score.others), share(score.refused_near, score.near),
    ]  # fmt: skip
    return f"| {name} | {' | '.join(cells)} |"
