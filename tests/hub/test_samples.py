"""Several samples of one request: their order, their seeds, and exactly one final reply however one of them ends."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from llmctld.call.call import Call, Event, Stage, compose
from llmctld.history import History
from llmctld.pipeline.compute.samples import samples
from llmctld.pipeline.intake.record import record

from llmctl import wire
from llmctl.errors import Busy, EngineFailed, Incomplete
from tests.hub.scene import a_call, a_server, events_of, in_loop, some_tiers


class Choir:
    """A last stage in which each sample answers its own letter once its event is set."""

    def __init__(self, count: int) -> None:
        self.go = [asyncio.Event() for _ in range(count)]
        self.calls: list[Call] = []
        self.errors: dict[int, Exception] = {}
        self.left = 0
        self.arrived = asyncio.Semaphore(0)

    async def __call__(self, call: Call) -> AsyncGenerator[Event, None]:
        self.calls.append(call)
        self.arrived.release()
        letter = "abcdefgh"[call.index]
        try:
            for number in range(2):
                yield wire.Notice(text="loading")
                call.work.text += letter
                call.work.usage.completion_tokens += 1
                yield wire.Delta(text=letter)
                if number == 0:
                    await self.go[call.index].wait()
            if call.index in self.errors:
                error = self.errors[call.index]
                if isinstance(error, Incomplete):
                    error.answer = call.partial("length")
                raise error
            yield call.answer(call.work.text, None, "stop", call.work.usage, call.work.timings)
        finally:
            self.left += 1


def spoken(events: list[Event]) -> list[tuple[int, str]]:
    return [(event.index, event.text) for event in events if isinstance(event, wire.Delta)]


@in_loop
async def test_samples_run_concurrently_and_are_delivered_in_order() -> None:
    choir = Choir(3)
    heard = asyncio.create_task(events_of(samples(choir), a_call(prompt="x", n=3, seed=2**32 - 2)))
    for _ in range(3):
        await choir.arrived.acquire()
    for index in (2, 1, 0):
        choir.go[index].set()
    events = await heard
    told = spoken(events)
    assert told == sorted(told)
    assert {index: "".join(text for at, text in told if at == index) for index in range(3)} == {
        0: "aa",
        1: "bb",
        2: "cc",
    }
    assert [event.text for event in events if isinstance(event, wire.Notice)] == ["loading"], "once for all"
    last = events[-1]
    assert isinstance(last, wire.Answers)
    assert [(answer.index, answer.text, answer.usage.completion_tokens) for answer in last.answers] == [
        (0, "aa", 2), (1, "bb", 2), (2, "cc", 2),
    ]  # fmt: skip
    assert [call.request.seed for call in choir.calls] == [2**32 - 2, 2**32 - 1, 0]
    assert len({answer.id for answer in last.answers}) == 1


@pytest.mark.parametrize("n", [None, 1])
@in_loop
async def test_a_single_sample_is_an_ordinary_answer(n: int | None) -> None:
    choir = Choir(1)
    choir.go[0].set()
    last = (await events_of(samples(choir), a_call(prompt="x", n=n)))[-1]
    assert isinstance(last, wire.Answer)


@in_loop
async def test_a_failed_sample_ends_all_samples() -> None:
    choir = Choir(3)
    choir.errors[2] = EngineFailed("it died")
    choir.go[2].set()
    call = a_call(prompt="x", n=3)
    with pytest.raises(EngineFailed):
        await events_of(samples(choir), call)
    assert choir.left == 3, "nobody computes on"
    assert [(answer.text, answer.finish_reason) for answer in call.partials("error")] == [
        ("a", "error"), ("b", "error"), ("cc", "error"),
    ]  # fmt: skip


@in_loop
async def test_an_incomplete_sample_does_not_end_the_others() -> None:
    choir = Choir(3)
    choir.errors[1] = Incomplete("cut")
    for event in choir.go:
        event.set()
    call = a_call(prompt="x", n=3)
    with pytest.raises(Incomplete, match="sample 1: cut"):
        await events_of(samples(choir), call)
    assert [(answer.text, answer.finish_reason) for answer in call.partials("error")] == [
        ("aa", "stop"), ("bb", "length"), ("cc", "stop"),
    ]  # fmt: skip


def a_pipeline(history: History, choir: Choir) -> Stage:
    return compose([record(history), samples], choir)


@in_loop
async def test_a_cancel_gives_one_final_reply_and_a_row_per_sample(tmp_path: Path) -> None:
    history, choir = History(tmp_path / "h.db"), Choir(3)
    await history.open()
    async with a_server(tmp_path, a_pipeline(history, choir)) as scene:
        choir.go[1].set()
        identity = await scene.dealer.send(wire.Generate(prompt="x", n=3, user="ana"))
        for _ in range(3):
            await choir.arrived.acquire()
        await scene.dealer.send(wire.Cancel(), identity)
        (final,) = [reply for reply in await scene.dealer.replies(identity) if isinstance(reply, wire.FINAL)]
        assert isinstance(final, wire.Cancelled)
        assert final.answer is None
        assert [answer.index for answer in final.answers] == [0, 1, 2]
        assert [answer.text for answer in final.answers][::2] == ["a", "c"]
        assert await scene.dealer.is_silent()
        rows = await history._store.read("SELECT id, sample, state, text FROM requests ORDER BY number")
        assert [(sample, state) for _, sample, state, _ in rows] == [(n, "cancelled") for n in range(3)]
        assert {id for id, *_ in rows} == {identity.hex()}
    history.close()


@in_loop
async def test_each_sample_has_a_row_and_only_the_first_continues_the_conversation(tmp_path: Path) -> None:
    history, choir = History(tmp_path / "h.db"), Choir(2)
    await history.open()
    for event in choir.go:
        event.set()
    call = a_call(prompt="x", n=2, user="ana")
    call.conversation = "talk"
    last = (await events_of(a_pipeline(history, choir), call))[-1]
    assert isinstance(last, wire.Answers)
    assert [answer.conversation for answer in last.answers] == ["talk", None], "only the first goes on"
    rows = await history._store.read("SELECT sample, state, text, completion_tokens FROM requests ORDER BY number")
    assert rows == [(0, "done", "aa", 2), (1, "done", "bb", 2)]
    assert [turn.text for turn in await history.turns("ana", "talk")] == ["aa"]
    history.close()


@in_loop
async def test_a_failure_carries_the_partial_answer_of_each_sample(tmp_path: Path) -> None:
    choir = Choir(2)
    choir.errors[1] = Busy("full")
    choir.go[1].set()
    async with a_server(tmp_path, samples(choir)) as scene:
        final = await scene.dealer.ask(wire.Generate(prompt="x", n=2))
        assert isinstance(final, wire.Failed)
        assert (final.code, final.answer) == ("busy", None)
        assert [answer.text for answer in final.answers] == ["a", "bb"]


@in_loop
async def test_deltas_held_for_a_stalled_reader_are_not_mixed_between_samples(tmp_path: Path) -> None:
    async def talkative(call: Call) -> AsyncGenerator[Event, None]:
        for number in range(wire.WINDOW):
            yield wire.Delta(text=str(number % 10), index=0)
        for index in (0, 1, 1, 2):
            yield wire.Delta(text="abc"[index], index=index)
        yield call.answer("", None, "stop", wire.TokenUsage(), wire.Timings())

    async with a_server(tmp_path, talkative) as scene:
        replies = await scene.dealer.replies(await scene.dealer.send(wire.Generate(prompt="x", n=3, stream=True)))
        deltas = [(reply.index, reply.text) for reply in replies if isinstance(reply, wire.Delta)]
        assert deltas[wire.WINDOW :] == [(0, "a"), (1, "bb"), (2, "c")]


@in_loop
async def test_the_cache_stores_all_samples_under_one_key(tmp_path: Path) -> None:
    from llmctld.pipeline.reuse.exact import exact
    from llmctld.pipeline.reuse.store import store

    from llmctl.config import Cache
    from tests.hub.scene import a_catalog

    catalog = a_catalog(tmp_path, m={})
    tiers = some_tiers()
    choir = Choir(3)
    for event in choir.go:
        event.set()
    stage = compose([exact(tiers, catalog, Cache()), store(tiers, catalog), samples], choir)

    def asking(n: int) -> Call:
        call = a_call(prompt="x", n=n, seed=1)
        call.model = catalog.find("m")
        return call

    first = (await events_of(stage, asking(3)))[-1]
    again = await events_of(stage, asking(3))
    assert isinstance(first, wire.Answers)
    assert isinstance(again[-1], wire.Answers)
    assert [answer.text for answer in again[-1].answers] == ["aa", "bb", "cc"]
    assert [answer.cache.hit for answer in again[-1].answers] == ["memory"] * 3
    assert spoken(again) == [(0, "aa"), (1, "bb"), (2, "cc")]
    assert len({answer.cache.key for answer in [*first.answers, *again[-1].answers]}) == 1
    before = len(choir.calls)
    await events_of(stage, asking(2))
    assert len(choir.calls) == before + 2, "two are not three"
    await tiers.close()
