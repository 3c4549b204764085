"""The rows of history.db, and the conversations that are read from them."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from llmctld.history import MIGRATIONS, History, Turn
from llmctld.storage.store import Store

from tests.hub.scene import in_loop


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with closing(History(tmp_path / "history.db")) as made:
        yield made


def row(id: str, **more: Any) -> dict[str, Any]:
    return {"number": int(id), "id": id, "at": 1.0, "user": "ana", "state": "done", "model": "e", **more}


def turn(id: str, prompt: str | None, **more: Any) -> dict[str, Any]:
    return row(id, conversation="talk", prompt=prompt, text=f"re: {prompt}", **more)


@in_loop
async def test_row_is_created_once_and_then_updated(tmp_path: Path, history: History) -> None:
    history.save(row("1", state="running", prompt="why?"))
    history.save({**row("1", state="running"), "text": "be"})
    await history.save(row("1", text="because"))
    assert await rows(tmp_path, "id, state, prompt, text") == [("1", "done", "why?", "because")]


async def rows(folder: Path, what: str) -> list[tuple[Any, ...]]:
    with closing(Store(folder / "history.db", [lambda _: None] * len(MIGRATIONS))) as store:
        return await store.read(f"SELECT {what} FROM requests ORDER BY number")


@in_loop
async def test_running_rows_of_a_killed_hub_are_closed_at_the_next_start(tmp_path: Path, history: History) -> None:
    for id, state in (("1", "running"), ("2", "done"), ("3", "running"), ("4", "failed")):
        await history.save(row(id, state=state, text="so far"))
    assert await history.open() == 2
    assert await history.open() == 0
    assert history.next_number() == 5, "numbering continues after a restart"
    found = await rows(tmp_path, "state, code, text")
    assert found == [
        ("failed", "unreachable", "so far"),
        ("done", None, "so far"),
        *found[:1],
        ("failed", None, "so far"),
    ]


@in_loop
async def test_conversation_is_its_answered_turns_in_order(history: History) -> None:
    await history.save(turn("1", "one", system="be brief"))
    await history.save(turn("2", "failed", state="failed"))
    await history.save(turn("3", "two"))
    await history.save({**turn("4", "another user's"), "user": "bob"})
    await history.save({**turn("5", "another talk"), "conversation": "other"})
    assert await history.turns("ana", "talk") == [
        Turn("one", "re: one", "be brief", "e"),
        Turn("two", "re: two", "", "e"),
    ]
    assert await history.last_conversation("ana") == "other"
    assert await history.last_conversation("bob") == "talk"
    assert await history.last_conversation("eve") is None


@in_loop
async def test_prompt_of_token_ids_is_not_a_turn(history: History) -> None:
    """Its row has no text to include in later turns."""
    await history.save(turn("1", "one"))
    await history.save({**turn("2", None), "conversation": "2"})
    assert await history.last_conversation("ana") == "talk"
    assert await history.turns("ana", "2") == []


@in_loop
async def test_later_turns_repeat_the_shortened_prompt_and_undo_has_the_whole(history: History) -> None:
    await history.save({**turn("1", "a long text"), "sent": "a long"})
    assert await history.turns("ana", "talk") == [Turn("a long", "re: a long text", "", "e", "a long text")]
    undone = await history.undo("ana", "talk")
    assert undone is not None
    assert undone.whole == "a long text"


@in_loop
async def test_undo_removes_one_turn_at_a_time(history: History) -> None:
    for id, prompt in enumerate(("one", "two")):
        await history.save(turn(str(id), prompt))
    assert await history.undo("ana", "talk", look=True) == Turn("two", "re: two", "", "e")
    assert await history.undo("ana", "talk") == Turn("two", "re: two", "", "e")
    assert [turn.prompt for turn in await history.turns("ana", "talk")] == ["one"]
    assert await history.undo("ana", "talk") == Turn("one", "re: one", "", "e")
    assert await history.undo("ana", "talk") is None
    assert await history.undo("eve", "talk") is None


@in_loop
async def test_migrated_rows_get_the_system_prompt_then_in_force(tmp_path: Path) -> None:
    """Old rows have the system prompt only if it was given, and NULL if the previous turn's applied."""
    given = {"one": "brief", "two": None, "lost": "never held", "three": None, "off": "", "four": None}
    with closing(Store(tmp_path / "history.db", MIGRATIONS[:2])) as old:
        for number, (prompt, system) in enumerate(given.items(), 1):
            for user in ("ana", "bob"):
                columns = {
                    **turn(str(2 * number - (user == "bob")), prompt), "user": user, "system": None if user == "bob" else system,
                    "state": "failed" if prompt == "lost" else "done",
                }  # fmt: skip
                places = ", ".join("?" * len(columns))
                await old.write(
                    f"INSERT INTO requests ({', '.join(columns)}) VALUES ({places})", list(columns.values())
                )
    with closing(History(tmp_path / "history.db")) as history:
        turns = await history.turns("ana", "talk")
        assert [(turn.prompt, turn.system) for turn in turns] == [
            ("one", "brief"), ("two", "brief"), ("three", "brief"), ("off", ""), ("four", ""),
        ]  # fmt: skip
        assert {turn.system for turn in await history.turns("bob", "talk")} == {""}


@in_loop
async def test_turns_wait_only_for_turns_of_the_same_conversation(history: History) -> None:
    order: list[str] = []
    inside = asyncio.Event()

    async def second() -> None:
        async with history.lock_conversation("ana", "talk") as (_, turns):
            order.append(f"second, after {len(turns)}")

    async with history.lock_conversation("ana", "talk"):
        waiting = asyncio.create_task(second())
        async with history.lock_conversation("ana", "other"), history.lock_conversation("bob", "talk"):
            inside.set()
        await history.save(turn("1", "one"))
        order.append("first")
    await waiting
    assert order == ["first", "second, after 1"]


@in_loop
async def test_turns_run_in_order_of_arrival_with_explicit_or_default_names(history: History) -> None:
    await history.save(turn("1", "one"))
    order: list[int] = []

    async def take(place: int, conversation: str | None) -> None:
        async with history.lock_conversation("ana", conversation) as (name, _):
            assert name == "talk"
            order.append(place)
            await asyncio.sleep(0)

    await asyncio.gather(*(take(place, None if place % 2 else "talk") for place in range(12)))
    assert order == list(range(12))
    assert not history._last, "no turn is left in the queue"


@in_loop
async def test_cancelled_waiting_turn_does_not_let_others_overtake(history: History) -> None:
    order: list[str] = []

    async def take(word: str) -> None:
        async with history.lock_conversation("ana", "talk"):
            order.append(word)

    async with history.lock_conversation("ana", "talk"):
        tasks = [asyncio.create_task(take(word)) for word in ("gone", "next")]
        await history.turns("ana", "talk")  # by now both of them are waiting
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        assert not order
        order.append("first")
    await tasks[1]
    assert order == ["first", "next"]
    assert not history._last
