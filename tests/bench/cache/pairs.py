"""Pairs of questions through a running hub with history: opposites must be refused, paraphrases mostly served.

The history is the reported half of the stream. Of each pair one question is computed and stored; the pair counts only if that is
served to a verbatim repeat; then the other is asked, behind the same wall. The near pairs of the data come afterwards, behind
a wall of their own.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from llmctl.client import Client
from tests.bench.cache import data as questions
from tests.bench.cache import stream
from tests.bench.cache.data import TextPair
from tests.bench.cache.endpoint import Endpoint, serving
from tests.bench.measure import Number
from tests.e2e.house import REPOSITORY, house

MAX_ERROR = 0.005
LISTS = REPOSITORY / "tests" / "hub"
FIRST_GROUP = 100_000
"""Above all groups of the stream."""


def measure(data: Path | None) -> list[Number]:
    assert data is not None
    history = stream.reported(data)
    endpoint = Endpoint({question.text: question.group for question in history})
    with serving(endpoint), house() as home, closing(stream.begin(home, endpoint, MAX_ERROR)) as client:
        played = stream.play(client, endpoint, history)
        print(f"history: {stream.told(played)}", file=sys.stderr, flush=True)
        ask = asker(client, endpoint, user="stream")
        opposites, paraphrases = read("opposites"), read("paraphrases")
        refused, kept = ask(opposites), ask(paraphrases)
        near = asker(client, endpoint, user="near")(questions.near_pairs(data))
    numbers = [
        Number("opposites that were served", len(refused.served), "", 0, f"{refused.counted} of {len(opposites)} count"),
        Number(
            "paraphrases that were served", len(kept.served) / max(1, kept.counted), "", 0.7,
            f"{kept.counted} of {len(paraphrases)} count", least=True,
        ),
    ]  # fmt: skip
    for same, what in ((False, "another answer"), (True, "the same answer")):
        of = [pair for pair in near.asked if pair.same == same]
        served = sum(pair.same == same for pair in near.served)
        numbers.append(Number(f"near pairs with {what} that were served", served / len(of), "", note=f"of {len(of)}"))
    return numbers


class Outcome:
    """`counted`: pairs whose first question was served to itself; `served`: those whose second one got that answer."""

    def __init__(self) -> None:
        self.asked: list[TextPair] = []
        self.served: list[TextPair] = []

    @property
    def counted(self) -> int:
        return len(self.asked)


def asker(client: Client, endpoint: Endpoint, user: str) -> Callable[[list[TextPair]], Outcome]:
    """Asks pairs as this user."""

    def answer(text: str, cache: str | None = None) -> tuple[str | None, int | None]:
        found = client.ask(text, model=stream.MODEL, semantic=True, user=user, refresh=cache == "refresh")
        return found.cache.hit, endpoint.group_of(found.text)

    def ask(pairs: list[TextPair]) -> Outcome:
        endpoint.groups.update(grouped(pairs))
        outcome = Outcome()
        for pair in pairs:
            _, stored = answer(pair.a, "refresh")
            again, repeated = answer(pair.a)
            if again is None or repeated != stored:
                print(f"does not count: {pair.a}", file=sys.stderr)
                continue
            outcome.asked.append(pair)
            hit, got = answer(pair.b)
            if hit is not None and got == stored:
                outcome.served.append(pair)
            if hit is not None and not pair.same:
                print(f"served ({hit}, {'from elsewhere' if got != stored else 'from this'}): {pair}", file=sys.stderr)
        stream.settle(endpoint)
        return outcome

    return ask


def grouped(pairs: Iterable[TextPair]) -> dict[str, int]:
    """Questions that share an answer are of one group."""
    leader: dict[str, str] = {}

    def lead(text: str) -> str:
        while leader.setdefault(text, text) != text:
            text = leader[text]
        return text

    for pair in pairs:
        one, other = lead(pair.a), lead(pair.b)
        if pair.same:
            leader[other] = one
    numbers = {text: FIRST_GROUP + number for number, text in enumerate(leader)}
    return {text: numbers[lead(text)] for text in leader}


def read(name: str) -> list[TextPair]:
    """A list of the repository; opposites are not the same, paraphrases are."""
    lines = (LISTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [TextPair(pair["a"], pair["b"], name == "paraphrases") for pair in map(json.loads, lines)]
    assert not {text for text, times in Counter(text for pair in pairs for text in pair[:2]).items() if times > 1}
    return pairs
