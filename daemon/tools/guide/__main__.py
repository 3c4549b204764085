"""`python -m tools.guide make [--seeds 1,2,3]` trains, writes the file, measures and writes the card; `measure` only measures.

It knows the order of the steps; run it at the root of a checkout (`make guide`, `make bench-guide`).
"""

import argparse
import hashlib
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from tools.guide.measure import baseline, card, engine, questions
from tools.guide.measure.questions import Question
from tools.guide.measure.score import Score, score
from tools.guide.model import greedy
from tools.guide.model.export import export
from tools.guide.model.samples import CHUNK, REFUSED, Samples, answer, people
from tools.guide.model.tokens import LONGEST
from tools.guide.model.train import WORDS, Trained, train
from tools.guide.texts import answers, unrelated

from tests.guide import likeness

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "daemon" / "llmctld" / "guide" / "guide.gguf"
PAGE = ROOT / "docs" / "guide-model.md"
STATE = ROOT / ".guide"
SEEDS, CHUNKS = "1,2,3", 48
CHECKED = 40
"""Questions of which torch's whole answer is compared with the engine's."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    held = questions.held_out()
    if options.step == "measure":
        with engine.hub():
            _tell("guide", score(held, engine.answers(FILE, [question.text for question in held])))
        return
    torch.set_num_threads(options.threads)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    trained = [train(_samples(seed, held), options.chunks, STATE, _texts()) for seed in seeds]
    scores = [_first_tokens(each, questions.development()) for each in trained]
    for each, found in zip(trained, scores, strict=True):
        _tell(f"seed {each.seed}, development", found)
    best = max(zip(scores, trained, strict=True), key=lambda pair: pair[0].right + pair[0].refused)[1]
    export(best, FILE)
    rows = _measured(trained, best, held)
    PAGE.write_text(
        card.card(FILE, _facts(best), rows, likeness.LIMIT, LONGEST, unrelated.first_words()), encoding="utf-8"
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.guide", description=__doc__)
    parser.add_argument("step", choices=["make", "measure"])
    parser.add_argument(
        "--seeds", default=SEEDS, help="seeds to train, the best of which is taken (default: %(default)s)"
    )
    parser.add_argument(
        "--chunks", type=int, default=CHUNKS, help="length of the training, in 4096 questions (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: %(default)s)")
    return parser.parse_args(arguments)


def _samples(seed: int, held: list[Question]) -> Samples:
    """Training questions without those that are alike to a held-out one."""
    texts = [question.text for question in held]
    return Samples(seed, lambda drawn: {text for text, _, _ in likeness.pairs_above(drawn, texts)})


def _texts() -> str:
    """Hash of all from which the training questions are made."""
    files = sorted(answers.HERE.glob("*.yaml")) + sorted(answers.HERE.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _first_tokens(trained: Trained, asked: list[Question]) -> Score:
    names = greedy.markers(trained.network, trained.tokens, [question.text for question in asked])
    return score(asked, [answer(name) if name else "" for name in names])


def _measured(trained: list[Trained], best: Trained, held: list[Question]) -> dict[str, Score]:
    """The rows of the card. Raises ValueError if the engine's answers are not torch's, but for a close tie."""
    texts = [question.text for question in held]
    with engine.hub():
        said = engine.answers(FILE, texts)
    sample = random.Random(0).sample(range(len(texts)), min(CHECKED, len(texts)))
    same = sum(said[at].strip() == greedy.text(best.network, best.tokens, texts[at]).strip() for at in sample)
    print(f"the engine's answer is torch's for {same} of {len(sample)} questions")
    if same < 0.95 * len(sample):
        raise ValueError("the engine's answers are not torch's: the file is not what was trained")
    rows = {f"guide (seed {best.seed}), through llmctl": score(held, said)}
    rows |= {f"seed {each.seed}": _first_tokens(each, held) for each in trained if each is not best}
    rows["TF-IDF"] = score(held, baseline.answers(_samples(best.seed, held), texts))
    for name, found in rows.items():
        _tell(name, found)
    return rows


def _facts(best: Trained) -> dict[str, object]:
    parameters = sum(weight.numel() for weight in best.network.parameters())
    return asdict(best.network.shape) | {
        "parameters": parameters, "questions": best.questions, "words": WORDS * CHUNK, "refused": REFUSED,
        "lines": len(people()), "seed": best.seed, "minutes": best.seconds / 60,
    }  # fmt: skip


def _tell(name: str, found: Score) -> None:
    print(f"{name}: {found}")


if __name__ == "__main__":
    main()
