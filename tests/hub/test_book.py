"""The index of the cache (the book): it lists what the levels hold, is rebuilt when damaged, and never fails a request."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from llmctld.cache.entries.book import REMEMBERED, Book, EntryRow, digest_of, row_of
from llmctld.cache.entries.selection import EntryFilter
from llmctld.cache.expiry import FixedExpiry
from llmctld.cache.level import About, Stored
from llmctld.cache.levels.answers import decode
from llmctld.cache.levels.tiers import Tiers
from llmctld.storage import store

from llmctl.errors import NotFound, Storage
from tests.hub.scene import a_stored, in_loop, some_tiers

ANA = About("ana", ["a"], "talk", "why is the sky blue?")


def answer(text: str = "text", model: str = "m", age: float = 0.0) -> Stored:
    return a_stored(text, model, time.time() - age)


def some(folder: Path, **more: Any) -> Tiers:
    return some_tiers(folder, book=Book(folder / "cache.db"), **more)


async def known(tiers: Tiers) -> dict[str, Any]:
    await tiers.round()
    return {entry.key: entry for entry in await tiers.required_book.entries(EntryFilter(), 0, 1000)}


@in_loop
async def test_entry_row_has_user_tags_time_and_hits(tmp_path: Path) -> None:
    tiers = some(tmp_path)
    await tiers.put("k", answer(), ANA)
    await tiers.put("other", answer(), About("bob"))
    for _ in range(3):
        await tiers.get("k", None)
    entry = (await known(tiers))["k"]
    assert (entry.user, entry.tags, entry.conversation, entry.prompt) == ("ana", ["a"], "talk", "why is the sky blue?")
    assert (entry.model, entry.seconds, entry.hits) == ("m", 2.0, 3)
    assert entry.last_hit == pytest.approx(time.time(), abs=60)
    assert entry.expires == pytest.approx(entry.created + 3600)
    assert (await known(tiers))["other"].hits == 0
    await tiers.close()


@in_loop
async def test_hits_are_kept_when_the_hub_closes(tmp_path: Path) -> None:
    tiers = some(tmp_path)
    tiers.start()
    await tiers.put("k", answer(), ANA)
    await tiers.get("k", None)
    await tiers.close()
    tiers = some(tmp_path)
    assert (await known(tiers))["k"].hits == 1
    await tiers.close()


@in_loop
async def test_an_evicted_entry_leaves_digest_and_hits_but_no_prompt(tmp_path: Path) -> None:
    tiers = some(tmp_path, ttl=None, expiry=FixedExpiry(5000.0))
    told: list[Sequence[str]] = []
    tiers.when_gone(told.append)
    await tiers.put("short", answer("An  Answer"), ANA)
    await tiers.put("long", answer(), ANA)
    await tiers.get("short", None)
    before = await known(tiers)
    await tiers.put("short", answer("An  Answer", age=4999.9), ANA)
    while "short" in await known(tiers):
        tiers._maintenance._swept = float("-inf")  # type: ignore[union-attr]
    assert set(before) - set(await known(tiers)) == {"short"}
    assert told == [["short"]]
    row = await tiers.required_book.row("short")
    assert row is not None
    assert (row.held, row.prompt, row.hits) == (False, "", 1)
    assert row.digest == digest_of(answer("an answer")) != digest_of(answer("another answer"))
    with pytest.raises(NotFound):
        await tiers.report.show(tiers.required_book, "short")
    await tiers.close()


@in_loop
async def test_recomputed_answer_is_reported_with_the_old_metadata(tmp_path: Path) -> None:
    told: list[tuple[Any, Stored]] = []

    class Listening(FixedExpiry):
        def recomputed(self, before: EntryRow, answer: Stored) -> None:
            told.append((before, answer))

    tiers = some(tmp_path, expiry=Listening())
    await tiers.put("k", answer("one", age=100), ANA)
    await tiers.put("k", answer("two"), ANA)
    await asyncio.gather(*tiers._tasks)
    ((row, stored),) = told
    assert row.digest == digest_of(answer("one")) != digest_of(stored)
    assert stored.first.text == "two"
    await tiers.close()


@in_loop
async def test_cleared_entries_leave_no_rows(tmp_path: Path) -> None:
    tiers = some(tmp_path)
    told: list[str] = []
    tiers.when_gone(told.extend)
    for key in ("a", "b", "c"):
        await tiers.put(key, answer(model="m" if key != "c" else "n"), ANA)
    assert await tiers.clear(EntryFilter("m")) == 2
    assert sorted(told) == ["a", "b"]
    assert await tiers.required_book.row("a") is None
    assert set(await known(tiers)) == {"c"}
    assert await tiers.clear() == 1
    assert sorted(told) == ["a", "b", "c"]
    assert not (await tiers.required_book._read("SELECT * FROM entries", (), len))
    await tiers.close()


@in_loop
async def test_disk_eviction_is_reported_only_if_memory_has_no_copy(tmp_path: Path) -> None:
    tiers = some(tmp_path, memory=3_000_000, disk=300_000)
    told: list[str] = []
    tiers.when_gone(told.extend)
    await tiers.round()
    for number in range(10):
        await tiers.put(f"{number}", answer("x" * 100_000), ANA)
    await tiers.round()
    assert not told, "memory still has them all"
    tiers._memory.clear()
    for number in range(10, 13):
        await tiers.put(f"{number}", answer("x" * 100_000), ANA)
        tiers._memory.clear()
    await tiers.round()
    left = set(await known(tiers))
    assert {"10", "11", "12"} & set(told) <= {"10"}
    assert left | set(told) >= {"10", "11", "12"}
    assert not left & set(told)
    tiers._maintenance._compare = True  # type: ignore[union-attr]
    await tiers.round()
    levels = (await tiers.report.stats()).levels
    assert len(await known(tiers)) == levels[1].entries
    await tiers.close()


# ---- damage ---------------------------------------------------------------------------------------------------------


def break_header(path: Path) -> None:
    path.write_bytes(b"this is no database, " * 400)


def break_middle(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [break_header, break_middle, newer, cut, remove])
@in_loop
async def test_damaged_index_is_set_aside_and_rebuilt_from_the_entries(tmp_path: Path, damage: Any) -> None:
    tiers = some(tmp_path)
    await tiers.round()
    for number in range(50):
        await tiers.put(f"{number}", answer(f"text {number}", age=number), ANA)
    before = await known(tiers)
    await tiers.close()
    damage(tmp_path / "cache.db")
    tiers = some(tmp_path)
    after = await known(tiers)
    fields = ("model", "user", "tags", "conversation", "prompt", "created", "seconds")
    for key, entry in before.items():
        assert [getattr(entry, name) for name in fields] == [getattr(after[key], name) for name in fields]
        assert after[key].expires == pytest.approx(entry.expires, abs=1.0)
    assert after.keys() == before.keys()
    aside = [path for path in tmp_path.iterdir() if ".damaged-" in path.name]
    assert len(aside) == (damage is not remove)
    assert any("damaged" in words for words in tiers.news()) == (damage is not remove)
    await tiers.close()


@in_loop
async def test_index_adds_missing_entries_and_drops_deleted_ones(
    tmp_path: Path,
) -> None:
    tiers = some(tmp_path)
    for key in ("a", "b"):
        await tiers.put(key, answer(), ANA)
    await tiers.close()
    blind = some_tiers(tmp_path)
    await blind.delete(["a"])
    await blind.put("c", answer(model="n"), About("bob"))
    await blind.close()
    tiers = some(tmp_path)
    told: list[str] = []
    tiers.when_gone(told.extend)
    found = await known(tiers)
    assert set(found) == {"b", "c"}
    assert (found["c"].model, found["c"].user) == ("n", "bob")
    assert told == ["a"]
    await tiers.close()


@in_loop
async def test_unreadable_index_disables_only_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(f"{path} cannot be read")

    monkeypatch.setattr(store, "set_aside", refuse)
    (tmp_path / "cache.db").mkdir()
    tiers = some(tmp_path)
    await tiers.put("k", answer(), ANA)
    assert await tiers.get("k", None) is not None
    with pytest.raises(Storage, match="cannot be read"):
        await tiers.required_book.entries(EntryFilter(), 0, 10)
    with pytest.raises(Storage):
        await tiers.clear(EntryFilter(user="ana"))
    assert await tiers.clear() == 1, "clearing everything needs no index"
    await tiers.close()


@in_loop
async def test_index_is_reconciled_after_failed_writes(tmp_path: Path) -> None:
    tiers = some(tmp_path)
    await tiers.round()
    store = tiers.required_book._store
    assert store is not None
    pages = await store.read("PRAGMA page_count")
    await store.submit(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages[0][0]}").fetchall())
    for number in range(40):
        await tiers.put(f"{number}", answer(), About("ana", [], None, "x" * 200))
    assert not tiers.required_book.complete
    assert await tiers.get("39", None) is not None
    await store.submit(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchall())
    tiers._maintenance._swept = float("-inf")  # type: ignore[union-attr]
    assert len(await known(tiers)) == 40
    assert tiers.required_book.complete
    await tiers.close()


@in_loop
async def test_rows_of_evicted_entries_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert REMEMBERED >= 10_000
    monkeypatch.setattr("llmctld.cache.entries.book.REMEMBERED", 5)
    tiers = some(tmp_path)
    for number in range(20):
        await tiers.put(f"{number:02}", answer(), ANA)
    await tiers.required_book.mark_gone(f"{number:02}" for number in range(15))
    rows = await tiers.required_book._read("SELECT key, held FROM entries ORDER BY key", (), tuple)
    assert [key for key, held in rows if not held] == ["10", "11", "12", "13", "14"]
    assert len([key for key, held in rows if held]) == 5
    await tiers.close()


def test_stored_answer_of_the_previous_version_is_readable() -> None:
    old: list[object] = ["m", "text", None, "stop", {"prompt_tokens": 1}, 5.0, 2.0, None, []]
    found = decode(msgspec.msgpack.encode(old))
    assert (found.first.text, found.about) == ("text", About())


@in_loop
async def test_clearing_the_cache_gives_the_space_of_the_book_back(tmp_path: Path) -> None:
    tiers = some(tmp_path)
    for number in range(200):
        await tiers.put(f"key {number}", answer(), About("ana", prompt="why? " * 40))
    await tiers.round()
    log = tmp_path / "cache.db-wal"
    assert log.stat().st_size > 0
    assert await tiers.clear() == 200
    assert log.stat().st_size == 0
    assert not await tiers.required_book.held()
    await tiers.close()


@in_loop
async def test_hit_that_was_counted_while_the_clock_was_ahead_does_not_make_an_entry_new_for_years(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(tmp_path / "cache.db")
    now = time.time()
    await book.put_all([row_of(key, answer(), now + 3600, 1) for key in ("ahead", "right")])
    await book.hit({"right": 1})
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: now + 20 * 365 * 86_400.0)
        await book.hit({"ahead": 2})
    assert [row.key for row in await book.held()] == ["right", "ahead"]
    assert await book.created_after(now + 60) == []
    assert [(row.key, row.hits) for row in await book.held()] == [("ahead", 2), ("right", 1)]
    book.close()
