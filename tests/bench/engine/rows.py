"""The rows of the engine benchmark: which load goes to which engines in which order, and the targets of the ratios.

Each function is one load and returns the figures that it gave; what a request looks like is ours.py's and peer.py's.
"""

import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.bench.engine import busy, drive
from tests.bench.engine.drive import Engine, Outcome, Stall
from tests.bench.engine.figure import Figure, count, ratio
from tests.bench.engine.ours import Ours, at_defaults, installed, knows, ours
from tests.bench.engine.peer import Peer, arguments, llama_bench, llama_server, python_server
from tests.bench.engine.prompts import Load, arrivals, prompts, words
from tests.bench.engine.resident import Resident, of_process
from tests.bench.engine.tune import SPECULATION, TRIES, Flags, best

T = TypeVar("T")
CONTEXT = 512
SPEED = "tok/s"
DECODED = 128
"""Tokens that are generated where nothing but generating is measured."""
BEFORE = {"GOMP_SPINCOUNT": "300000"}
"""What libgomp does where nothing is said."""
TUNING = 1000
"""The seed of the prompts that choose the peer's flags: none of those that are measured."""


class Bench(NamedTuple):
    """What is compared and how often; `say` takes a sentence for the log. `flags`: the peer's, instead of trying."""

    place: Path
    model: Path
    rounds: int
    python: Path | None
    draft: Path | None
    flags: Flags | None
    say: Callable[[str], None]

    def ours(self, slots: int, context: int = CONTEXT, **settings: str) -> AbstractContextManager[Ours]:
        return ours(self.model, slots, context, settings)

    def waiting(self, settings: dict[str, str], **variables: str) -> AbstractContextManager[Ours]:
        """One slot without drafts, with these settings, in this environment."""
        return ours(self.model, 1, CONTEXT, {"speculation": "off", **settings}, None, **variables)

    def peer(self, slots: int, context: int = CONTEXT, flags: Flags = ()) -> AbstractContextManager[Peer]:
        return llama_server(self.place, self.model, slots, context, flags)

    def tuned(
        self, row: str, slots: int, score: Callable[[Engine], float], tries: Sequence[Flags] = TRIES
    ) -> Callable[[], AbstractContextManager[Peer]]:
        """The peer with its best flags for one load, the higher score winning; each set is tried in a fresh server."""

        def one(flags: Flags) -> float:
            with self.peer(slots, flags=flags) as engine:
                return score(engine)

        flags, tried = (self.flags, "as given") if self.flags is not None else best(one, tries)
        self.say(f"{row}: `llama-server {' '.join(arguments(slots, CONTEXT, flags))}`; {tried}")
        return partial(self.peer, slots, CONTEXT, flags)

    def interleaved(self, *runs: Callable[[int], T]) -> list[list[T]]:
        """The results of each run, a round after another with the number of the round; who begins changes."""
        results: list[list[T]] = [[] for _ in runs]
        for number in range(self.rounds):
            for place in range(len(runs)):
                index = (place + number) % len(runs)
                results[index].append(runs[index](number + 1))
        return results


def speed(load: Load, engine: Engine, seed: int) -> float:
    return drive.closed_loop(engine, prompts(load, seed), load.clients, load.generated).tokens_per_second


def unshared(bench: Bench, clients: int, requests: int, target: float) -> list[Figure]:
    """No prompt has anything in common with another, in no round."""
    run = partial(speed, Load(clients, requests, 1, 0, 128, 64))
    peer = bench.tuned(f"{clients} clients", clients, lambda engine: run(engine, TUNING))
    with bench.ours(clients) as mine, peer() as other:
        speeds, others = bench.interleaved(partial(run, mine), partial(run, other))
    return [ratio(f"{clients} clients, no shared prefix", speeds, others, target, SPEED)]


def cold_and_hot(load: Load, engine: AbstractContextManager[Engine]) -> tuple[Outcome, Outcome]:
    """The same prompts twice, to an engine that has never seen them."""
    with engine as fresh:
        first, second = (drive.closed_loop(fresh, prompts(load), load.clients, load.generated) for _ in "12")
    return first, second


def decoding(bench: Bench) -> list[Figure]:
    """One sequence that generates and nothing else, over what the library's own loop does without any server."""
    with bench.ours(1, speculation="off") as mine:
        speeds, others = bench.interleaved(
            lambda seed: drive.decoding(mine, prompts(Load(1, 1, 1, 0, 8, 1), seed)[0], DECODED),
            lambda _: llama_bench(bench.place, bench.model, DECODED),
        )
    return [ratio("decoding alone, over llama-bench", speeds, others, 0.97, SPEED)]


def loading(bench: Bench) -> list[Figure]:
    """From a hub that has nothing loaded, the file in the system's cache, to the first piece of an answer."""
    bench.model.read_bytes()

    def run(_: int) -> float:
        with installed(bench.model, 1, CONTEXT, {}) as fresh:
            return drive.first_piece(fresh, [1, 2, 3])

    ((*seconds,),) = bench.interleaved(run)
    note = ", ".join(f"{value:.2f}" for value in sorted(seconds))
    return [Figure("load to first token", statistics.median(seconds), 1.5, most=True, note=note, unit="s")]


def templates(bench: Bench, distinct: int, target: float) -> list[Figure]:
    load = Load(8, 48, distinct, 256, 32, 32)
    peer = bench.tuned(f"{distinct} templates", load.clients, lambda engine: speed(load, engine, TUNING))
    rounds = bench.interleaved(
        lambda _: cold_and_hot(load, bench.ours(load.clients)),
        lambda _: cold_and_hot(load, peer()),
    )
    (cold, hot), (other_cold, other_hot) = (list(zip(*results, strict=True)) for results in rounds)
    what = f"8 clients, {distinct} templates of 256"
    least = distinct * load.prefix + load.requests * load.unique
    return [
        ratio(f"{what}, cold", _speeds(cold), _speeds(other_cold), target, SPEED),
        count("... prompt tokens computed", _computed(cold), least + 416, load.prompt_tokens, _computed(other_cold)),
        ratio(f"{what}, hot", _speeds(hot), _speeds(other_hot), 1.05, SPEED),
    ]


def shared(bench: Bench) -> list[Figure]:
    load = Load(16, 48, 1, 288, 96, 32)
    peer = bench.tuned("16 clients, 75 % shared", load.clients, lambda engine: speed(load, engine, TUNING))
    speeds, others = bench.interleaved(
        lambda _: cold_and_hot(load, bench.ours(load.clients))[0].tokens_per_second,
        lambda _: cold_and_hot(load, peer())[0].tokens_per_second,
    )
    return [ratio("16 clients, prompts share 75 %, cold", speeds, others, 1.2, SPEED)]


def few_busy(bench: Bench) -> list[Figure]:
    """Sixteen slots of which one to six are busy: what is not used must not slow down what is."""

    def pace(engine: Engine, seed: int) -> float:
        return drive.trace(engine, arrivals(seed))

    peer = bench.tuned("16 slots, 1 to 6 busy", 16, lambda engine: 1 / pace(engine, TUNING))
    with bench.ours(16) as mine, peer() as other:
        paces, others = bench.interleaved(partial(pace, mine), partial(pace, other))
    return [ratio("16 slots, 1 to 6 busy: median ms per token", paces, others, 1 / 1.1, "ms", most=True)]


def long_prompt(bench: Bench) -> list[Figure]:
    """Four streams, then a prompt of 4,000 tokens: how long they stand still, and how long it takes to its first token."""
    context = 4352

    def run(engine: Engine, seed: int) -> Stall:
        (long,) = prompts(Load(1, 1, 1, 0, 4000, 1), seed)
        return drive.stall(engine, prompts(Load(4, 4, 1, 0, 16, 1), seed), long, 1000)

    bench.say(f"long prompt: `llama-server {' '.join(arguments(5, context))}`; its defaults")
    with bench.ours(5, context) as mine, bench.peer(5, context) as other:
        stalls, others = bench.interleaved(partial(run, mine), partial(run, other))
    gaps, other_gaps = ([stall.gap_ms for stall in side] for side in (stalls, others))
    firsts, other_firsts = ([stall.first_ms for stall in side] for side in (stalls, others))
    return [
        ratio("p95 between tokens of 4 streams beside a prompt of 4,000", gaps, other_gaps, 0.5, "ms", most=True),
        ratio("... that prompt's own first token", firsts, other_firsts, 1.5, "ms", most=True),
    ]


def loops(bench: Bench) -> list[Figure]:
    """Greedy, a model of random weights repeats itself: the best case of speculation from what was said before."""
    if not knows("speculation"):
        bench.say("speculation: not measured, models have no setting `speculation`")
        return []
    run = partial(speed, Load(1, 4, 1, 0, 32, 256))
    peer = bench.tuned("speculation", 1, lambda engine: run(engine, TUNING), SPECULATION)
    with bench.ours(1, speculation="ngram") as mine, bench.ours(1, speculation="off") as off, peer() as other:
        on, without, others = bench.interleaved(partial(run, mine), partial(run, off), partial(run, other))
    return [
        ratio("speculation in loops, over our own without", on, without, 1.3, SPEED),
        ratio("speculation in loops, over llama-server's n-gram", on, others, 1.0, SPEED),
    ]


def no_loops(bench: Bench) -> list[Figure]:
    """The same with a penalty for what was said, so that nothing comes twice: speculation must notice that it does not pay."""
    if not knows("speculation"):
        bench.say("speculation on text that does not repeat: not measured, models have no setting `speculation`")
        return []
    run = partial(speed, Load(1, 8, 1, 0, 32, 128))
    penalty = {"repeat_penalty": 2.0}
    with (
        ours(bench.model, 1, CONTEXT, {"speculation": "ngram"}, penalty) as mine,
        ours(bench.model, 1, CONTEXT, {"speculation": "off"}, penalty) as off,
    ):
        on, without = bench.interleaved(partial(run, mine), partial(run, off))
    return [ratio("speculation on text that does not repeat, over our own without", on, without, 0.97, SPEED)]


def draft(bench: Bench) -> list[Figure]:
    """A second, smaller model: whatever it is, and however often it is right, it must not be at a loss."""
    if bench.draft is None:
        bench.say("draft model: not measured, DRAFT= names a smaller GGUF file that has the vocabulary of MODEL")
        return []
    run = partial(speed, Load(1, 4, 1, 0, 32, 256))
    with bench.ours(1, draft=str(bench.draft)) as mine, bench.ours(1) as without:
        on, off = bench.interleaved(partial(run, mine), partial(run, without))
    return [ratio("a draft model, over our own without", on, off, 1.0, SPEED)]


def python(bench: Bench) -> list[Figure]:
    if bench.python is None:
        bench.say("llama-cpp-python's server: not measured, PYSERVER= names a python that has llama-cpp-python[server]")
        return []

    def run(engine: Engine, seed: int) -> float:
        return drive.closed_loop(engine, words(16, 25, seed), 8, 64).tokens_per_second

    bench.say(f"llama-cpp-python: `python -m llama_cpp.server --n_ctx {CONTEXT} --n_threads 2 --n_threads_batch 2`")
    with bench.ours(8) as mine, python_server(bench.python, bench.model, CONTEXT) as other:
        speeds, others = bench.interleaved(partial(run, mine), partial(run, other))
    return [ratio("8 clients, over llama-cpp-python's server", speeds, others, 1.5, SPEED)]


def beside_busy(bench: Bench) -> list[Figure]:
    """One sequence that generates, alone and beside a program that only counts; as it comes, as it was before threads
    waited shortly and became fewer, and llama-server. Each answer in a window in which others had nearly nothing."""
    others: list[float] = []
    with bench.waiting({"threads": ""}) as mine, bench.waiting({}, **BEFORE) as before, bench.peer(1) as other:
        watch = busy.Watch(lambda: [*mine.daemons(), *before.daemons()])

        def run(engine: Engine, count: int, seed: int) -> float:
            (prompt,) = prompts(Load(1, 1, 1, 0, 8, 1), seed)
            with busy.programs(count):
                value, disturbed = watch.quiet(lambda: busy.rate(engine, prompt))
            others.append(disturbed)
            return value

        quiet, earlier, loud, theirs = bench.interleaved(
            *(partial(run, engine, count) for engine, count in ((mine, 0), (before, 0), (mine, 1), (other, 1)))
        )
    bench.say(f"busy: others had {statistics.median(others):.2f} processors in a window, {max(others):.2f} at most")
    return [
        ratio("beside one busy program, over llama-server beside one", loud, theirs, 2.5, SPEED),
        ratio("beside one busy program, over alone (aim 0.45)", loud, quiet, 0.3, SPEED),
        ratio("alone, over threads that spin for 3 ms", quiet, earlier, 1.0, SPEED),
    ]


def memory(bench: Bench) -> list[Figure]:
    """What is resident at our defaults after one answer, over llama-server with as many slots and tokens; after 8 clients it
    is told and has no target: what a stream has held stays, and saved prefixes have a share of their own.
    """
    slots, context = 4, 8192
    with at_defaults(bench.model) as mine, bench.peer(slots, context) as other:
        after = [(resident(mine, 1, 16), resident(other, 1, 16)), (resident(mine, 8, 16), resident(other, 8, 16))]
    told = "; ".join(
        f"{a.rss:,.0f} against {b.rss:,.0f} MiB resident, {a.pss:,.0f} against {b.pss:,.0f} PSS" for a, b in after
    )
    bench.say(
        f"memory: `llama-server {' '.join(arguments(slots, context))}`; after one answer, and after 8 clients: {told}"
    )
    return [
        ratio("resident at defaults after one answer", [after[0][0].rss], [after[0][1].rss], 1.25, "MiB", most=True)
    ]


def resident(engine: Ours | Peer, clients: int, generated: int) -> Resident:
    """After so many clients have had an answer each, all at once."""
    drive.closed_loop(engine, prompts(Load(clients, clients, 1, 0, 64, 1), clients), clients, generated)
    return of_process(engine.pid)


def _speeds(outcomes: Sequence[Outcome]) -> list[float]:
    return [outcome.tokens_per_second for outcome in outcomes]


def _computed(outcomes: Sequence[Outcome]) -> list[int]:
    return [outcome.computed for outcome in outcomes]


ROWS: dict[str, Callable[[Bench], list[Figure]]] = {
    "one": partial(unshared, clients=1, requests=8, target=1.0),
    "four": partial(unshared, clients=4, requests=16, target=1.0),
    "sixteen": partial(unshared, clients=16, requests=48, target=0.95),
    "decoding": decoding,
    "loading": loading,
    "templates": partial(templates, distinct=8, target=1.25),
    "four-templates": partial(templates, distinct=4, target=1.2),
    "few": few_busy,
    "busy": beside_busy,
    "shared": shared,
    "long": long_prompt,
    "memory": memory,
    "loops": loops,
    "no-loops": no_loops,
    "draft": draft,
    "python": python,
}
"""What ROWS= chooses from."""
