"""The model card: docs/guide-model.md, written from what was measured.

It knows the figures of a run and the file; nothing in the page is written by hand elsewhere.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tools.guide.measure.score import Score, share
from tools.guide.texts.answers import corpus, entries

PAGE = """# The guide model
`guide` is the built-in model that answers questions about llmctl while no other model has been added. This page is written by `make guide`.

| | |
|---|---|
| file | `daemon/llmctld/guide/guide.gguf`, {size:,} bytes, F16 |
| SHA-256 | `{sha}` |
| architecture | llama, {parameters:,} parameters: {layers} layers of width {dim}, {heads} heads, feed-forward {hidden}; {tokens:,} tokens (byte-level BPE, control tokens, a marker per answer), tied embeddings; context {context} |
| licence | Apache-2.0, as llmctl |
| answers | {answers}, in `daemon/tools/guide/texts/answers.yaml` (SHA-256 `{corpus}`) |
| training data | {questions:,} questions made on the fly by patterns, synonyms, word order, words left out and typing mistakes; {refused:.0%} of them are not about llmctl. All word lists were written for this model; no text of another project is in them |
| held-out questions | a question as like one of them as an edit ratio of {limit} is left out of the training |
| training | from scratch, seed {seed}, {minutes:.0f} minutes of processor time on one core |

## How good it is
Each answer is judged by its first command line, which must be one of the right ones and valid for the live command line. The questions were written from the documentation by somebody who did not see the patterns
(`tests/guide`); the answers were computed by llmctl itself, with its engine.

| | right | false refusals | unrelated questions refused | of these, the same verb on another tool |
|---|---|---|---|---|
{rows}

TF-IDF is a linear classifier over words and letters, trained on the same questions; it picks an answer and cannot write one. The targets are 85 % right, at most 5 % false refusals, and 95 % refused.

## How it works
The chat template makes the prompt from the last message of the user, in small letters and at most {longest} characters of it. The first token of the answer is a marker, a control token that no engine prints: with it the model decides
what it says, or that it refuses. The rest follows token by token, greedily. An answer that begins with `{refusal}` is a refusal (`llmctl.guide.refusal` in the file's metadata).

## What it cannot do
- It knows what its answers say and nothing else: it reads no files, remembers no earlier turns, and cannot combine two answers.
- It reads English only.
- A wrong answer looks as sure as a right one. The commands that it names exist (a test reads each of them with the live command line), but may not be what was asked for.
- It does not see the machine: it knows neither the models that were added nor the settings in effect.

## Adding an answer
Write an entry in `daemon/tools/guide/texts/answers.yaml`, then `make guide`: it trains, writes the file, measures, and writes this page. `make bench-guide` only measures. The training goes on where it was stopped.
"""


def card(file: Path, facts: dict[str, Any], rows: dict[str, Score], limit: float, longest: int, refusal: str) -> str:
    """The page for this file; `facts` are those of the run, `rows` the scores by name."""
    return PAGE.format(
        **facts, size=file.stat().st_size, sha=sha256(file), corpus=corpus(), answers=len(entries()),
        rows="\n".join(_row(name, score) for name, score in rows.items()), limit=limit, longest=longest, refusal=refusal,
    )  # fmt: skip


def sha256(file: Path) -> str:
    """Hash of the file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def kept(file: Path) -> dict[str, Any]:
    """What an earlier step left: facts of the run."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _row(name: str, score: Score) -> str:
    cells = [
        share(score.right, score.about), share(score.false_refusals, score.about),
        share(score.refused, score.others), share(score.refused_near, score.near),
    ]  # fmt: skip
    return f"| {name} | {' | '.join(cells)} |"
