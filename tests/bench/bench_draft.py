"""`make bench-draft [MODEL=FILE.gguf]`: the drafter replayed over the three texts in tests/bench/texts, with its break-even.

Nothing is generated and no time is taken: the answers are given, and what a row costs is a parameter. MODEL is a file whose
tokens to count in; without it words and signs are the tokens.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from llmctld.engine.drafts.speculation import DRAFT_TOKENS, Drafts, Speculation

TEXTS = Path(__file__).with_name("texts")
NAMES = {"edit": "an edit of a file in the prompt", "json": "JSON extraction", "prose": "prose"}
ROW_COSTS = (0.02, 0.1, 0.25, 0.5)
"""What a drafted row adds to a step, as a share of a step with one row: a GPU, something between, and small processors."""


@dataclass
class Replay:
    """`time` is in steps of one row."""

    steps: int = 0
    drafted: int = 0
    accepted: int = 0
    time: float = 0.0

    @property
    def tokens(self) -> int:
        return self.steps + self.accepted

    @property
    def speed(self) -> float:
        """Over the same answer without drafts."""
        return self.tokens / self.time


def replay(prompt: list[int], answer: list[int], row_cost: float, *, always: bool = False) -> Replay:
    """The answer's tokens after the first, as the engine would come to them. `always`: every draft is taken whole."""
    drafts, speculation, done = Drafts(), Speculation(), Replay()
    at = 1
    while at < len(answer):
        draft, chances = drafts.offer(prompt + answer[:at], len(answer) - at - 1)
        length = len(draft) if always else speculation.lengths({0: chances}, DRAFT_TOKENS)[0]
        accepted = agreeing(draft[:length], answer[at:])
        took = 1 + row_cost * length
        speculation.measured({0: 1 + length}, took)
        done = Replay(done.steps + 1, done.drafted + length, done.accepted + accepted, done.time + took)
        at += 1 + accepted
    return done


def agreeing(draft: list[int], answer: list[int]) -> int:
    """Tokens of the draft before the first wrong one."""
    wrong = (at for at, (drafted, said) in enumerate(zip(draft, answer, strict=False)) if drafted != said)
    return next(wrong, min(len(draft), len(answer)))


def in_words(prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Words with the space before them, digits, signs and runs of white space, numbered."""
    numbers: dict[str, int] = {}
    prompts, answers = (
        [numbers.setdefault(word, len(numbers)) for word in re.findall(r" ?[^\W\d]+| ?\d|[^\w\s]|\s+", text)]
        for text in (prompt, answer)
    )
    return prompts, answers


def in_tokens(model: Path, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    import llama_cpp.llama_cpp as lib
    from llmctld.engine.llama.internals.native_log import NativeLog
    from llmctld.engine.llama.vocabulary import Vocabulary

    log = NativeLog()
    parameters = lib.llama_model_default_params()
    parameters.vocab_only = True
    loaded = lib.llama_model_load_from_file(str(model).encode(), parameters)
    if not loaded:
        raise SystemExit(f"llama.cpp cannot read {model}: {log.first_error or 'no reason given'}")
    vocabulary = Vocabulary(loaded)
    return vocabulary.encode(prompt), vocabulary.tokenise(answer)


def rows(name: str, prompt: list[int], answer: list[int]) -> list[str]:
    whole = replay(prompt, answer, 0.0, always=True)
    found = [
        f"| {NAMES[name]}, {len(prompt)} + {len(answer)} tokens | every draft whole | {whole.drafted} | {whole.accepted} "
        f"| {whole.tokens / whole.steps:.2f} | pays below {whole.accepted / max(whole.drafted, 1):.2f} |"
    ]
    for cost in ROW_COSTS:
        done = replay(prompt, answer, cost)
        found.append(
            f"| | {cost:g} | {done.drafted} | {done.accepted} | {done.tokens / done.steps:.2f} | {done.speed:.2f} |"
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-draft")
    parser.add_argument("--model", type=Path, help="a GGUF file whose tokens to count in")
    parser.add_argument("--no-log", action="store_true", help="print only")
    options = parser.parse_args()
    table = [
        "| replayed | a drafted row costs, in steps | drafted | accepted | tokens per step | speed |",
        "|---|---|---|---|---|---|",
    ]
    for name in NAMES:
        prompt, answer = ((TEXTS / f"{name}.{part}.txt").read_text(encoding="utf-8") for part in ("prompt", "answer"))
        cut = in_words(prompt, answer) if options.model is None else in_tokens(options.model, prompt, answer)
        table += rows(name, *cut)
    print("\n".join(table))
    if not options.no_log:
        from tests.bench.log import append

        append("\n".join(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
