"""Pairs of questions through a running hub with history: opposites must be refused, paraphrases mostly served.

Of each pair one question is computed and stored; the pair counts only if that is served to a verbatim repeat; then the other is
asked, behind the same wall. The history is the reported half of the stream, and the pairs come one at a time among the last two
fifths of it: what may be wrong is a share of all requests, so nobody can be served nothing but paraphrases. The near pairs of the
data come afterwards, each behind a wall of its own.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

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


class Outcome(NamedTuple):
    """`counts`: the first question was served to itself. `served`: the second one got its answer."""

    pair: TextPair
    counts: bool
    served: bool


def measure(data: Path | None) -> list[Number]:
    assert data is not None
    history = stream.reported(data)
    endpoint = Endpoint({question.text: question.group for question in history})
    lists = [pair for both in zip(read("opposites"), read("paraphrases"), strict=True) for pair in both]
    endpoint.groups |= grouped(lists)
    before = len(history) * 3 // 5
    with serving(endpoint), house() as home, closing(stream.begin(home, endpoint, MAX_ERROR)) as client:
        played = stream.play(client, endpoint, history[:before])
        print(f"history: {stream.told(played)}", file=sys.stderr, flush=True)
        outcomes = []
        for place, pair in enumerate(lists):
            for question in history[before + place :: len(lists)]:
                client.ask(question.text, model=stream.MODEL, semantic=True)
            outcomes.append(try_pair(client, endpoint, pair, "stream"))
        near = []
        for number, pair in enumerate(questions.near_pairs(data)):
            endpoint.groups |= {pair.a: FIRST_GROUP, pair.b: FIRST_GROUP + (not pair.same)}
            near.append(try_pair(client, endpoint, pair, f"near{number}"))
    return [*of_lists(outcomes), *of_near(near)]


def of_lists(outcomes: list[Outcome]) -> list[Number]:
    opposites, paraphrases = ([one for one in outcomes if one.pair.same == same] for same in (False, True))
    served = [sum(one.served for one in ones) for ones in (opposites, paraphrases)]
    counted = [sum(one.counts for one in ones) for ones in (opposites, paraphrases)]
    return [
        Number("opposites that were served", served[0], "", 0, f"{counted[0]} of {len(opposites)} count"),
        Number(
            "paraphrases that were served", served[1] / max(1, counted[1]), "", 0.7,
            f"{counted[1]} of {len(paraphrases)} count", least=True,
        ),
    ]  # fmt: skip


def of_near(near: list[Outcome]) -> list[Number]:
    numbers = []
    for same, what in ((False, "another answer"), (True, "the same answer")):
        of = [one for one in near if one.pair.same == same and one.counts]
        share = sum(one.served for one in of) / max(1, len(of))
        numbers.append(Number(f"near pairs with {what} that were served", share, "", note=f"of {len(of)}"))
    return numbers


def try_pair(client: Client, endpoint: Endpoint, pair: TextPair, user: str) -> Outcome:
    """Asks both questions as this user."""

    def answer(text: str, refresh: bool = False) -> tuple[str | None, int | None]:
        found = client.ask(text, model=stream.MODEL, semantic=True, user=user, refresh=refresh)
        return found.cache.hit, endpoint.group_of(found.text)

    _, stored = answer(pair.a, refresh=True)
    again, repeated = answer(pair.a)
    if again is None or repeated != stored:
        print(f"does not count: {pair.a}", file=sys.stderr)
        return Outcome(pair, False, False)
    hit, got = answer(pair.b)
    served = hit == "semantic" and got == stored
    if served != pair.same:
        print(f"{'served' if served else 'not served'}: {pair}", file=sys.stderr)
    return Outcome(pair, True, served)


def grouped(pairs: Iterable[TextPair]) -> dict[str, int]:
    """Each question of the pairs -> its group: those that share an answer are of one."""
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
