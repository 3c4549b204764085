"""How many pairs each guard refuses: of those that ask the same, which cost hits, and of those that do not.

Pairs are the near neighbours within the stream (its groups were corrected), and the published pairs, whose labels are noisy. The
guards were narrowed on the even groups; the odd ones are counted here and have never been looked at.
"""

import timeit
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from llmctld.semantic.guards import refusal as guards

from tests.bench.cache.data import Question, near_pairs, question_pairs, stream
from tests.bench.cache.embedded import embed
from tests.bench.measure import Number

NEIGHBOURS, NEAR = 5, 0.8
BANDS = ((0.8, 0.86), (0.86, 0.92), (0.92, 1.01))


class Judged(NamedTuple):
    """Two questions, whether they have one answer, and their cosine (0 where it was not computed)."""

    a: str
    b: str
    same: bool
    cosine: float = 0.0


def measure(data: Path | None) -> list[Number]:
    if data is None:
        return [speed()]
    questions = stream(data)
    vectors = embed([question.text for question in questions])
    reported = {question.text for question in questions if question.reported}
    rows: list[Number] = []
    for half, name in ((False, "tuned half"), (True, "reported half")):
        places = [place for place, question in enumerate(questions) if question.reported == half]
        near = list(neighbours([questions[place] for place in places], vectors[places]))
        published = [
            Judged(pair.a, pair.b, pair.same)
            for pair in question_pairs(data)
            if (pair.a in reported and pair.b in reported if half else reported.isdisjoint((pair.a, pair.b)))
        ]
        judged = [(pair, refusing(pair)) for pair in (*near, *published)]
        rows += [refused(f"{name}, {guard}", [(pair, guard in by) for pair, by in judged]) for guard in guards.GUARDS]
        for low, high in BANDS:
            band = [(pair, bool(by)) for pair, by in judged if low <= pair.cosine < high]
            rows.append(refused(f"{name}, all guards, cosine {low}-{min(high, 1):g}", band))
        rows.append(
            refused(f"{name}, all guards, published", [(pair, bool(by)) for pair, by in judged if not pair.cosine])
        )
    read = [Judged(*pair) for pair in near_pairs(data)]
    rows.append(refused("all guards, near pairs read one by one", [(p, bool(refusing(p))) for p in read]))
    return [*rows, speed()]


def neighbours(
    questions: list[Question], vectors: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"
) -> Iterator[Judged]:
    """Each question with its nearest ones, from NEAR on, each pair once."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    seen = set()
    for one, row in enumerate(cosines):
        for other in np.argpartition(-row, NEIGHBOURS)[:NEIGHBOURS]:
            pair = (min(one, int(other)), max(one, int(other)))
            if row[other] >= NEAR and pair not in seen:
                seen.add(pair)
                a, b = questions[pair[0]], questions[pair[1]]
                yield Judged(a.text, b.text, a.group == b.group, float(row[other]))


def refused(what: str, pairs: Iterable[tuple[Judged, bool]]) -> Number:
    """The share of different pairs that were refused; the note has that of pairs that ask the same."""
    counts = {True: [0, 0], False: [0, 0]}
    for pair, refusal in pairs:
        counts[pair.same][0] += refusal
        counts[pair.same][1] += 1
    (same, of_same), (different, of_different) = counts[True], counts[False]
    note = f"{different} of {of_different} different pairs; of {of_same} that ask the same {100 * same / max(1, of_same):.2f} %"
    return Number(f"refused: {what}", 100 * different / max(1, of_different), "%", note=note)


def refusing(pair: Judged) -> set[str]:
    """The guards that refuse a pair."""
    one, other = guards.TextFeatures(pair.a), guards.TextFeatures(pair.b)
    if one.words == other.words:
        return set()
    return {name for name, refuses in guards.GUARDS.items() if refuses(one, other)}


SHORT = (
    "How do I learn chess at home?",
    "What is the best way to learn chess?",
    "how can I learn to play chess in 30 days",
    "Where can I learn chess in Paris?",
    "Is chess hard to learn for adults?",
    "Why do people learn chess?",
)


def speed() -> Number:
    """One new question against five stored ones, none of them read before."""

    def request() -> None:
        guards.text_features.cache_clear()
        for stored in SHORT[1:]:
            guards.refusal(SHORT[0], stored)

    request()
    times = timeit.repeat(request, number=200, repeat=5)
    return Number("guards, a pair of short questions", min(times) / 200 / len(SHORT[1:]) * 1e3, "ms", 0.2)
