"""The decision alone: twenty shuffles of the stream with vectors made before, the reported half and the whole.

Net hit rate = 1 - calls / requests, calls to verify and to explore included; error = wrong answers served / requests.
"""

import statistics
from pathlib import Path

from llmctld.semantic.decision.bound import Bound

from tests.bench.cache.data import stream
from tests.bench.cache.embedded import embed
from tests.bench.cache.played import Stream, plays
from tests.bench.measure import Number

SHUFFLES = 20
LEAST = {0.001: (0.08, 0.15), 0.005: (0.25, 0.28), 0.02: (0.38, 0.41)}
"""max_error -> (net hit rate at least, aim)"""
WORST = 1.25
"""Of max_error, in any shuffle."""
LIES = 0.1


def measure(data: Path | None) -> list[Number]:
    assert data is not None
    questions = stream(data)
    vectors = embed([question.text for question in questions])
    numbers: list[Number] = []
    for name, places in (
        ("reported half", [place for place, question in enumerate(questions) if question.reported]),
        ("whole stream", list(range(len(questions)))),
    ):
        played = Stream(
            [questions[place].text for place in places], [questions[place].group for place in places], vectors[places]
        )
        for max_error in LEAST:
            numbers += row(played, name, max_error)
        numbers += row(played, f"{name}, every tenth verdict wrong", 0.005, LIES)
    return numbers


def row(played: Stream, name: str, max_error: float, lies: float = 0.0) -> list[Number]:
    outcomes = plays(played, range(SHUFFLES), lambda seed: Bound(max_error, seed=seed), lies)
    errors = [outcome.wrong / outcome.requests / max_error for outcome, _ in outcomes]
    rate = statistics.mean(1 - outcome.calls / outcome.requests for outcome, _ in outcomes)
    covered = sum(bound.audit().wrong_rate_upper >= outcome.wrong / outcome.requests for outcome, bound in outcomes)
    what = f"decision, {name}, max_error {max_error:g}"
    least, aim = LEAST[max_error]
    return [
        Number(f"{what}: net hit rate", rate, "", None if lies else least, f"aim {aim:g}; {SHUFFLES} shuffles", least=True),
        Number("... error, of max_error", statistics.mean(errors), "", 1),
        Number("... in the worst shuffle", max(errors), "", WORST),
        Number("... true rates under wrong_rate_upper", covered, f"of {SHUFFLES}", None if lies else SHUFFLES - 1, least=True),
    ]  # fmt: skip
