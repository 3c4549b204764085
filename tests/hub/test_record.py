"""Every request is recorded in the history, however it ends."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from llmctld.call.call import Call, Event, Stage, compose
from llmctld.history import History
from llmctld.pipeline.intake import record as record_module
from llmctld.pipeline.intake.record import record

from llmctl.errors import Busy, EngineFailed, Incomplete, Storage, Timeout
from llmctl.wire import Delta
from tests.hub.scene import Speaker, a_call, answer_of, events_of, in_loop


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with closing(History(tmp_path / "history.db")) as made:
        yield made


def row_of(folder: Path, call: Call) -> dict[str, Any]:
    """What another process reads; {} when there is no row."""
    with closing(sqlite3.connect(folder / "history.db")) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT * FROM requests WHERE id = ?", (call.id,)).fetchone()
    return dict(found) if found else {}


@in_loop
async def test_an_answer_is_recorded_before_it_is_delivered(tmp_path: Path, history: History) -> None:
    before = time.time()
    call = a_call(prompt="why?", system="be brief", user="ana", tags=["a", "b"])
    answer = await answer_of(compose([record(history)], Speaker("be", "cause", reason="length")), call)
    row = row_of(tmp_path, call)
    assert answer.text == row["text"] == "because"
    assert (row["state"], row["code"], row["finish_reason"]) == ("done", None, "length")
    assert (row["prompt"], row["system"], row["user"]) == ("why?", "be brief", "ana")
    assert json.loads(row["tags"]) == ["a", "b"]
    assert row["completion_tokens"] == 2
    assert before <= row["at"] <= row["ended"] <= time.time()


@in_loop
async def test_the_row_has_the_arrival_time_of_the_request(tmp_path: Path, history: History) -> None:
    speaker, call = Speaker("x", held=True), a_call(prompt="why?")
    task = asyncio.create_task(answer_of(compose([record(history)], speaker), call))
    await speaker.said.wait()
    waited_from = time.time()
    speaker.go.set()
    await task
    row = row_of(tmp_path, call)
    assert row["at"] <= waited_from <= row["ended"]


@in_loop
async def test_a_running_request_has_a_row_with_its_partial_text(
    tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "NOTE_EVERY_S", 0.0)
    speaker, call = Speaker("so ", "far", held=True), a_call(prompt="why?")
    task = asyncio.create_task(answer_of(compose([record(history)], speaker), call))
    await speaker.said.wait()
    await history.turns("", "")  # everything before it is written
    row = row_of(tmp_path, call)
    assert (row["state"], row["prompt"], row["text"], row["ended"]) == ("running", "why?", "so far", None)
    assert await history.open() == 1, "as the next hub would if this one were killed here"
    assert row_of(tmp_path, call)["code"] == "unreachable"
    speaker.go.set()
    await task
    assert row_of(tmp_path, call)["state"] == "done"


@pytest.mark.parametrize("error", [Busy("full"), Timeout("late"), Incomplete("no code block")])
@in_loop
async def test_a_failed_request_is_recorded_with_its_partial_answer(
    tmp_path: Path, history: History, error: Busy
) -> None:
    call = a_call(prompt="why?")
    with pytest.raises(type(error)) as caught:
        await events_of(compose([record(history)], Speaker("half", error=error)), call)
    row = row_of(tmp_path, call)
    assert (row["state"], row["code"], row["message"]) == ("failed", error.code, error.message)
    assert row["text"] == "half"
    assert caught.value.answer is not None
    assert caught.value.answer.text == "half", "the partial answer belongs to the user"


@in_loop
async def test_one_failure_of_several_requests_gives_each_its_own_answer(tmp_path: Path, history: History) -> None:
    """An engine that dies ends all its requests with one error: nobody gets the text of another."""
    error = EngineFailed("the engine died")
    calls = [a_call(prompt=text, user=user) for text, user in (("one", "ana"), ("two", "bo"), ("", "eve"))]
    found: list[EngineFailed] = []
    for call in calls:
        with pytest.raises(EngineFailed, match="the engine died") as raised:
            await answer_of(compose([record(history)], Speaker(*call.request.prompt or "", error=error)), call)
        found.append(raised.value)
    assert [each.answer and (each.answer.text, each.answer.user) for each in found] == [
        ("one", "ana"),
        ("two", "bo"),
        None,
    ]
    assert [row_of(tmp_path, call)["text"] for call in calls] == ["one", "two", ""]
    assert error.answer is None


@in_loop
async def test_a_failure_without_text_carries_no_answer(history: History) -> None:
    with pytest.raises(Busy) as caught:
        await events_of(compose([record(history)], Speaker(error=Busy("full"))), a_call(prompt="why?"))
    assert caught.value.answer is None


@in_loop
async def test_an_unexpected_exception_is_recorded(tmp_path: Path, history: History) -> None:
    call = a_call(prompt="why?")
    with pytest.raises(KeyError):
        await events_of(compose([record(history)], Speaker("half", error=KeyError("x"))), call)
    row = row_of(tmp_path, call)
    assert (row["state"], row["code"], row["text"]) == ("failed", "internal", "half")


async def answering(history: History) -> "tuple[asyncio.Task[list[Event]], Call]":
    """A request that has been answered by half."""
    speaker, call = Speaker("half", held=True), a_call(prompt="why?")
    task = asyncio.create_task(events_of(compose([record(history)], speaker), call))
    await speaker.said.wait()
    return task, call


@in_loop
async def test_a_cancelled_request_is_recorded(tmp_path: Path, history: History) -> None:
    task, call = await answering(history)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    row = row_of(tmp_path, call)
    assert (row["state"], row["text"], row["finish_reason"]) == ("cancelled", "half", "cancelled")


@in_loop
async def test_a_second_cancel_does_not_lose_the_row(tmp_path: Path, history: History) -> None:
    task, call = await answering(history)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await history.turns("", "")
    assert row_of(tmp_path, call)["state"] == "cancelled"


@in_loop
async def test_inner_stages_release_their_resources_after_the_row_is_written(tmp_path: Path, history: History) -> None:
    seen: list[str] = []

    def holding(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            call.cleanup.callback(lambda: seen.append(row_of(tmp_path, call)["state"]))
            async for event in next_(call):
                yield event

        return stage

    await answer_of(compose([record(history), holding], Speaker("x")), a_call(prompt="a"))
    with pytest.raises(Busy):
        await events_of(compose([record(history), holding], Speaker("x", error=Busy("full"))), a_call(prompt="b"))
    assert seen == ["done", "failed"]


@in_loop
async def test_a_failing_disk_is_reported_and_the_answer_still_delivered(history: History) -> None:
    await history._store.submit(lambda connection: connection.execute("PRAGMA query_only = 1").fetchall())
    with pytest.raises(Storage) as caught:
        await events_of(compose([record(history)], Speaker("the answer")), a_call(prompt="why?"))
    assert caught.value.answer is not None
    assert caught.value.answer.text == "the answer"
    with pytest.raises(Busy):  # a failure stays what it is
        await events_of(compose([record(history)], Speaker(error=Busy("full"))), a_call(prompt="why?"))


@in_loop
async def test_deltas_pass_through_unchanged(history: History) -> None:
    events = await events_of(compose([record(history)], Speaker("a", "b")), a_call(prompt="why?"))
    assert events[:-1] == [Delta(text="a"), Delta(text="b")]
