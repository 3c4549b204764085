"""`python -m tests.bench.cache.fit_prior --data FOLDER [--from tuning|made|published] [--write]`: fits the prior of the decision.

On the half of the stream that is for tuning (even groups; the reported half is not looked at), on questions made here, or on the
published pairs (those of which no text is of the reported half; what their labels call the same is a group). It plays them with
fixed thresholds, so that pairs come as they do when some are served, and fits a logistic regression.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from llmctld.semantic.decision import prior
from llmctld.semantic.decision.bound import Decision
from llmctld.semantic.decision.pair import Pair

from tests.bench.cache import made
from tests.bench.cache.data import question_pairs, stream
from tests.bench.cache.embedded import embed
from tests.bench.cache.pairs import grouped
from tests.bench.cache.played import Stream, plays

PAIRS = 500
"""As how many pairs it counts."""
THRESHOLDS, SHUFFLES = (0.85, 0.9, 0.95), 4
RESTATED_MEAN, RESTATED_VARIANCE = -7.5, 2.25
"""Restatements are hardly ever wrong, and the data has too few to say how rarely: one in two thousand, within a factor of 4."""
OBVIOUS = 0.75
"""Below it nobody looks at the history of an entry."""


class Threshold:
    """Serves from a fixed cosine on, and remembers every pair with its outcome."""

    def __init__(self, least: float) -> None:
        self._least = least
        self.rows: list[list[float]] = []
        self.wrong: list[bool] = []

    def decide(self, pair: Pair | None) -> Decision:
        error = 0.1 if pair is not None and pair.similarity > OBVIOUS else 0.9
        return Decision(pair is not None and pair.similarity >= self._least, error, verify=True, judge=True)

    def count_judge_question(self) -> None:
        pass

    def learn(self, pair: Pair, decision: Decision, same: bool) -> None:
        if pair.similarity >= 0.6:
            self.rows.append(prior.features(pair))
            self.wrong.append(not same)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--from", dest="source", choices=list(SOURCES), default="tuning")
    parser.add_argument("--write", action="store_true", help="replace prior.json")
    options = parser.parse_args()
    fitted = fit(SOURCES[options.source](options.data))
    print(json.dumps(dict(zip(fitted["features"], fitted["mean"], strict=True))))
    if options.write:
        Path(prior.__file__).with_name("prior.json").write_text(json.dumps(fitted) + "\n")


def tuning_half(data: Path) -> Stream:
    questions = stream(data)
    vectors = embed([question.text for question in questions])
    places = [place for place, question in enumerate(questions) if not question.reported]
    return Stream(
        [questions[place].text for place in places], [questions[place].group for place in places], vectors[places]
    )


def made_stream(_: Path) -> Stream:
    questions = made.questions()
    texts = [question.text for question in questions]
    return Stream(texts, [question.group for question in questions], embed(texts))


def published(folder: Path) -> Stream:
    reported = {question.text for question in stream(folder) if question.reported}
    groups = grouped(pair for pair in question_pairs(folder) if reported.isdisjoint(pair[:2]))
    return Stream(list(groups), list(groups.values()), embed(list(groups)))


SOURCES = {"tuning": tuning_half, "made": made_stream, "published": published}


def fit(played: Stream) -> dict[str, Any]:
    """What prior.json holds."""
    seen = [
        decides
        for least in THRESHOLDS
        for _, decides in plays(played, range(SHUFFLES), lambda _, least=least: Threshold(least))  # type: ignore[misc]
    ]
    rows = np.array([row for decides in seen for row in decides.rows], float)
    wrong = np.array([flag for decides in seen for flag in decides.wrong], float)
    mean, curvature = regression(rows, wrong)
    covariance = np.linalg.inv(curvature / len(rows) * PAIRS + 0.1 * np.eye(len(mean)))
    mean[-1] = RESTATED_MEAN
    covariance[-1, :] = covariance[:, -1] = 0
    covariance[-1, -1] = RESTATED_VARIANCE
    return {
        "features": list(prior.FEATURES),
        "pairs": PAIRS,
        "mean": [round(float(number), 4) for number in mean],
        "covariance": [[round(float(number), 5) for number in row] for row in covariance],
    }


def regression(rows: Any, wrong: Any, ridge: float = 1.0) -> tuple[Any, Any]:
    """The coefficients, by Newton's method with short steps, and the curvature of the likelihood there."""
    mean = np.zeros(rows.shape[1])
    for _ in range(80):
        odds = 1 / (1 + np.exp(-rows @ mean))
        curvature = (rows * (odds * (1 - odds))[:, None]).T @ rows + ridge * np.eye(len(mean))
        step = np.linalg.solve(curvature, rows.T @ (odds - wrong) + ridge * mean)
        mean = mean - np.clip(step, -1, 1)
    return mean, curvature


if __name__ == "__main__":
    main()
