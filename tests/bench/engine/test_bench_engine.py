"""The parts of the engine benchmark that decide what its figures mean: prompts, statistics, the choice of flags."""

import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests import tiny_gguf
from tests.bench.engine import busy, drive
from tests.bench.engine.busy import Spent
from tests.bench.engine.figure import Figure, count, ratio
from tests.bench.engine.ours import Ours, knows, ours
from tests.bench.engine.prompts import Load, arrivals, prompts, words
from tests.bench.engine.resident import of_process
from tests.bench.engine.tune import Flags, best
from tests.e2e.house import until

TEMPLATES = Load(8, 48, 8, 256, 32, 32)


def test_the_prompts_are_those_of_the_peer_s_own_load_script() -> None:
    """Restated as that script says it: all prefixes first, then for each request its prefix and its own tokens."""
    draw = random.Random(1).randrange
    prefixes = []
    for _ in range(8):
        prefixes.append([draw(1000, 30000) for _ in range(256)])
    expected = []
    for _ in range(48):
        prefix = prefixes[draw(8)]
        expected.append(prefix + [draw(1000, 30000) for _ in range(32)])
    assert prompts(TEMPLATES) == expected
    assert TEMPLATES.prompt_tokens == sum(map(len, expected)) == 13_824


def test_what_must_be_computed_of_the_templates_lies_below_the_target() -> None:
    distinct = {tuple(prompt[:256]) for prompt in prompts(TEMPLATES)}
    assert len(distinct) * 256 + 48 * 32 == 3_584


def test_rounds_share_nothing_unless_they_are_told_to() -> None:
    load = Load(1, 8, 1, 0, 128, 64)
    firsts = [prompt[0] for seed in range(1, 6) for prompt in prompts(load, seed)]
    assert len(set(firsts)) == len(firsts)
    assert prompts(load, 3) == prompts(load, 3)
    assert len(set(words(16, 25, 1)) | set(words(16, 25, 2))) == 32


def test_the_trace_keeps_one_to_six_busy() -> None:
    first, *others = arrivals()
    assert len(others) == 5
    assert {arrival.pause for arrival in first} == {0.0}
    assert all(arrival.pause > 0 for trace in others for arrival in trace)
    assert arrivals() == arrivals()


def test_a_ratio_is_the_median_of_rounds_and_passes_within_three_percent() -> None:
    figure = ratio("row", [10, 30, 20], [10, 10, 10], 2.06, "tok/s")
    assert figure.value == 2
    assert figure.passes
    assert not figure._replace(target=2.07).passes
    assert figure._replace(target=1.95, most=True).passes
    assert not figure._replace(target=1.94, most=True).passes


def test_tokens_are_counted_and_nothing_is_tolerated() -> None:
    assert count("row", [4000], 4000, 13_824, [5376]).passes
    assert not count("row", [4001], 4000, 13_824, [5376]).passes


def test_a_row_is_one_of_the_log_s_table() -> None:
    good = ratio("4 clients", [110.0], [100.0], 1.0, "tok/s")
    assert good.row() == "| 4 clients (medians 110 against 100 tok/s) | 1.100 times | >= 1 times | pass |"
    bad = count("computed", [5376], 4000, 13_824, [5376])
    assert bad.row() == "| computed (of 13,824; llama-server 5,376) | 5,376 tokens | <= 4,000 tokens | **miss** |"
    assert Figure("slow", 0.5, 1.0).row().endswith("| >= 1 times | **miss** |")


def test_a_gap_that_reaches_into_the_span_counts_whole() -> None:
    assert drive.gaps_within([0.0, 1.0, 5.0, 6.0, 9.0, 10.0], 2.0, 7.0) == [4.0, 1.0, 3.0]
    assert drive.gaps_within([0.0, 1.0], 2.0, 7.0) == []


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({(): 3.0, ("-x",): 2.0, ("-y", "1"): 1.0}, []),
        ({(): 1.0, ("-x",): 3.0, ("-y", "1"): 2.0, ("-x", "-y", "1"): 4.0}, ["-x", "-y", "1"]),
        ({(): 1.0, ("-x",): 3.0, ("-y", "1"): 2.0, ("-x", "-y", "1"): 0.5}, ["-x"]),
        ({(): 1.0, ("-y", "2"): 3.0, ("-y", "1"): 2.0}, ["-y", "2"]),
    ],
)
def test_the_peer_gets_its_best_flags_and_every_try_is_told(
    scores: dict[tuple[str, ...], float], chosen: Flags
) -> None:
    tried: list[tuple[str, ...]] = []

    def score(flags: Flags) -> float:
        tried.append(tuple(flags))
        return scores[tuple(flags)]

    flags, told = best(score, [flags for flags in scores if len(flags) < 3])
    assert list(flags) == chosen
    assert sorted(tried) == sorted(scores)
    for value in scores.values():
        assert f" {value:.4g}" in told


class Told:
    """An engine with one client, which is given."""

    def __init__(self, client: object) -> None:
        self._client = client

    @contextmanager
    def talk(self) -> Iterator[object]:
        yield self._client


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    tiny_gguf.write(path, seed=7, context=512)
    with ours(path, 2, 256, {}) as made:
        yield made


def test_clients_on_the_real_socket_get_exactly_the_tokens_they_asked_for(engine: Ours) -> None:
    outcome = drive.closed_loop(engine, [[3, 4, 5], [6, 7], [8], [9, 10]], clients=2, generated=5)
    assert outcome.tokens_per_second > 0
    assert outcome.computed == 8
    with engine.talk() as talk:
        assert talk.ask([20, 21], 7).generated == 7
        assert talk.ask("a prompt as text", 3).generated == 3


def test_decoding_alone_is_told_from_the_prompt() -> None:
    """A second for the prompt and its first token, five for it and nine: eight tokens took four."""

    class Slow:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def ask(self, prompt: drive.Prompt, generated: int) -> drive.Use:
            self.asked.append(generated)
            return drive.Use(generated, len(prompt))

    talk = Slow()
    with pytest.MonkeyPatch.context() as patch:
        clock = iter([0.0, 1.0, 6.0])
        patch.setattr(time, "perf_counter", lambda: next(clock))
        assert drive.decoding(Told(talk), [1, 2], 8) == 2.0  # type: ignore[arg-type]
    assert talk.asked == [1, 9]


def test_the_first_piece_of_an_answer_is_waited_for(engine: Ours) -> None:
    assert drive.first_piece(engine, [42, 43]) > 0


def test_a_stream_gives_its_pieces_and_can_be_left(engine: Ours) -> None:
    with engine.talk() as talk:
        pieces = talk.stream([30, 31, 32], 200)
        next(pieces)
        pieces.close()
        assert talk.ask([33], 2).generated == 2


def test_a_row_about_a_setting_that_does_not_exist_is_not_measured() -> None:
    assert knows("slots")
    assert not knows("levitation")


def test_busy_programs_are_busy_and_gone_afterwards() -> None:
    with busy.programs(2) as pids:
        running = [psutil.Process(pid) for pid in pids]
        assert len({os.getsid(pid) for pid in pids} | {os.getsid(0)}) == 3, "each in a session of its own"
        until(lambda: all(sum(process.cpu_times()[:2]) > 0.05 for process in running), what="they compute")
    assert not any(process.is_running() for process in running)


def test_what_others_had_is_what_the_machine_had_and_ours_did_not() -> None:
    watch = busy.Watch(list)
    assert watch.others(Spent(0, 100, 10), Spent(2, 104, 13)) == 0.5
    assert watch.others(Spent(0, 100, 10), Spent(2, 104, 14.5)) == 0, "the kernel counts in hundredths of a second"


def test_a_window_in_which_others_had_processors_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, values = busy.Watch(list), iter(range(100))
    disturbed = iter([1.5, 0.3, 0.05, 0.0])
    monkeypatch.setattr(watch, "others", lambda *_: next(disturbed))
    assert watch.quiet(lambda: next(values)) == (2, 0.05)
    disturbed = iter([1.5, 0.3, 0.9, *[2.0] * busy.TRIES])
    assert watch.quiet(lambda: next(values)) == (4, 0.3), "the best of them where all were disturbed"


def test_a_rate_is_that_of_an_answer_that_lasts_long_enough(engine: Ours) -> None:
    assert busy.rate(engine, [50, 51, 52], least_s=0.01) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is resident")
def test_what_is_resident_grows_with_what_is_touched() -> None:
    before = of_process(os.getpid())
    held = bytearray(b"a" * (64 * 2**20))
    after = of_process(os.getpid())
    assert 60 < after.rss - before.rss < 200
    assert 60 < after.pss - before.pss < 200
    assert len(held) == 64 * 2**20
