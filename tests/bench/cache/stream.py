"""The question stream through a running hub that starts with nothing but its prior: calls saved, and wrong answers served.

One question after another, since what the cache has learned by then is what counts; nobody waits for what it does behind their
back, but all of that is counted: hit rate = 1 - calls / requests, with the calls for verification, exploration and judges. Each
shuffle has a home of its own. LLMCTL_BENCH_SHUFFLES=1 is a quick look.
"""

import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from llmctl import wire
from llmctl.client import Client
from llmctl.paths import find_paths
from tests.bench.cache.data import Question
from tests.bench.cache.data import stream as questions_of
from tests.bench.cache.endpoint import Endpoint, serving
from tests.bench.measure import Number
from tests.e2e.house import House, house, until

SHUFFLES = int(os.environ.get("LLMCTL_BENCH_SHUFFLES", "5"))
LEAST = {0.001: 0.08, 0.005: 0.25, 0.02: 0.38}
"""max_error -> hit rate at least."""
ANY_SHUFFLE = 1.25
"""Times max_error: the most that a single shuffle may be wrong."""
STILL_S = 1.5
"""So long after its last call the hub has nothing left to verify."""
MODEL = "oracle"


class Played(NamedTuple):
    """One shuffle. `wrong`: answers of another group that were served; `upper`: what `cache audit` says it is at most."""

    requests: int
    calls: int
    hits: int
    wrong: int
    verdicts: int
    upper: float | None
    seconds: float

    @property
    def hit_rate(self) -> float:
        return 1 - self.calls / self.requests

    @property
    def error(self) -> float:
        return self.wrong / self.requests

    @property
    def covered(self) -> bool:
        return self.upper is not None and self.error <= self.upper


def measure(data: Path | None) -> list[Number]:
    """The half of the stream that nothing was tuned on."""
    assert data is not None
    return rows(reported(data), "reported half", least=True)


def measure_whole(data: Path | None) -> list[Number]:
    assert data is not None
    return rows(questions_of(data), "whole stream")


def measure_other_words(data: Path | None) -> list[Number]:
    """Equal groups answer in other words each time, and a tenth of the judge's verdicts is wrong."""
    assert data is not None
    return rows(reported(data), "other words, 10 % wrong verdicts", other_words=True, wrong_verdicts=0.1)


def reported(data: Path) -> list[Question]:
    return [question for question in questions_of(data) if question.reported]


def rows(
    questions: Sequence[Question],
    what: str,
    *,
    least: bool = False,
    other_words: bool = False,
    wrong_verdicts: float = 0.0,
) -> list[Number]:
    numbers, all_played = [], []
    for max_error, hit_rate in LEAST.items():
        played = []
        for seed in range(SHUFFLES):
            shuffled = random.Random(seed).sample(list(questions), len(questions))
            groups = {question.text: question.group for question in questions}
            answering = Endpoint(groups, other_words=other_words, wrong_verdicts=wrong_verdicts, seed=seed)
            with serving(answering) as endpoint, house() as home, closing(begin(home, endpoint, max_error)) as client:
                played.append(play(client, endpoint, shuffled))
            print(f"{what}, {max_error}, shuffle {seed}: {told(played[-1])}", file=sys.stderr, flush=True)
        numbers += summary(f"{what}, max_error {max_error:g}", played, max_error, hit_rate if least else None)
        all_played += played
    covered = sum(one.covered for one in all_played) / len(all_played)
    return [
        *numbers,
        Number(f"{what}: `wrong_rate_upper` covers the true rate", covered, "of the runs", 0.95, least=True),
    ]


def summary(what: str, played: Sequence[Played], max_error: float, hit_rate: float | None) -> list[Number]:
    rates, errors = [one.hit_rate for one in played], [one.error for one in played]
    calls, requests = (sum(getattr(one, name) for one in played) for name in ("calls", "requests"))
    served, verdicts, seconds = (sum(getattr(one, name) for one in played) for name in ("hits", "verdicts", "seconds"))
    note = (
        f"{', '.join(f'{rate:.3f}' for rate in rates)}; {played[0].requests:,} requests, served {served / requests:.3f}, "
        f"verdicts {verdicts / calls:.3f} of the calls, {seconds / requests * 1e3:.1f} ms each"
    )
    return [
        Number(f"{what}: hit rate", statistics.mean(rates), "", hit_rate, note, least=True),
        Number("... error", statistics.mean(errors), "", max_error, ", ".join(f"{error:.4f}" for error in errors)),
        Number("... error of the worst shuffle", max(errors), "", ANY_SHUFFLE * max_error),
    ]


def told(played: Played) -> str:
    upper = "none" if played.upper is None else f"{played.upper:.4f}"
    return (
        f"hit rate {played.hit_rate:.4f}, error {played.error:.4f} (upper {upper}), served {played.hits}, "
        f"verdicts {played.verdicts}, {played.seconds:.0f} s"
    )


def play(client: Client, endpoint: Endpoint, questions: Sequence[Question]) -> Played:
    """Asks them all, in this order."""
    began = time.perf_counter()
    hits = wrong = 0
    for question in questions:
        answer = client.ask(question.text, model=MODEL, semantic=True)
        if answer.cache.hit is not None:
            hits += 1
            wrong += endpoint.group_of(answer.text) != question.group
    settle(endpoint)
    took = time.perf_counter() - began
    audit = client.call(wire.AuditCache())
    assert isinstance(audit, wire.CacheAudit), audit
    upper = audit.semantic.wrong_rate_upper
    return Played(len(questions), endpoint.calls, hits, wrong, endpoint.verdicts, upper, took)


def settle(endpoint: Endpoint) -> None:
    """Until the hub has verified what it wanted to."""
    until(lambda: time.monotonic() - endpoint.last > STILL_S)


def begin(home: House, endpoint: Endpoint, max_error: float) -> Client:
    """A hub that answers from its semantic cache, and a client that asks it."""
    home.place.mkdir(exist_ok=True)
    (home.place / "config.toml").write_text(
        f"[cache.semantic]\nenabled = true\nmax_error = {max_error}\n", encoding="utf-8"
    )
    home.ok("models", "add", MODEL, endpoint.url)
    home.ok("daemon", "start")
    return Client(user="stream", paths=find_paths(home.environ()))
