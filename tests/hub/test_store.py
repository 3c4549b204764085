"""The database: acknowledged writes are durable, errors are reported, and bad writes or long reads block no others."""

import asyncio
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest
from llmctld.storage.connection import DamagedDatabase
from llmctld.storage.loss import LossRule
from llmctld.storage.store import CHECKPOINT_EVERY, IN_MEMORY, Store

from llmctl import __version__
from llmctl.errors import Storage, Unreachable
from tests.hub.scene import in_loop, until


def first(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE pairs (key TEXT PRIMARY KEY, value)")


def second(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE pairs ADD COLUMN note TEXT NOT NULL DEFAULT 'none'")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "a.db", [first])) as made:
        yield made


PUT = "INSERT INTO pairs (key, value) VALUES (?, ?)"
ALL = "SELECT key, value FROM pairs ORDER BY key"


@in_loop
async def test_a_read_sees_what_was_submitted_before_it(store: Store) -> None:
    writes = [store.write(PUT, (f"{number:03}", number)) for number in range(100)]
    assert await store.read(ALL) == [(f"{number:03}", number) for number in range(100)]
    assert await asyncio.gather(*writes) == [1] * 100


@in_loop
async def test_closing_finishes_queued_writes(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db", [first])
    for number in range(50):
        store.write(PUT, (str(number), number))
    store.close()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        assert connection.execute("SELECT count(*) FROM pairs").fetchone() == (50,)


@pytest.mark.parametrize("bad", [("b", 1, 2), ("b", object()), ("a", 1), ("b", 2**70), ("\ud800", 1)])
@in_loop
async def test_a_failing_write_affects_no_other_write(store: Store, bad: tuple[object, ...]) -> None:
    """Whatever the write contains, its future ends, and the store continues."""
    before, wrong, after = store.write(PUT, ("a", 1)), store.write(PUT, bad), store.write(PUT, ("z", 1))
    assert await before == 1
    with pytest.raises(Exception) as caught:  # noqa: PT011
        await wrong
    assert not isinstance(caught.value, asyncio.CancelledError)
    assert await after == 1
    assert await store.read(ALL) == [("a", 1), ("z", 1)]


@in_loop
async def test_a_full_disk_is_reported_and_recovered_from(store: Store) -> None:
    await store.submit(lambda connection: connection.execute("PRAGMA max_page_count = 8").fetchall())
    with pytest.raises(Storage, match="full"):
        await store.write(PUT, ("big", b"x" * 200_000))
    assert await store.write(PUT, ("small", 1)) == 1
    await store.submit(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchall())
    assert await store.write(PUT, ("big", b"x" * 200_000)) == 1


@in_loop
async def test_a_cancelled_caller_does_not_revoke_its_write(store: Store) -> None:
    write = store.write(PUT, ("a", 1))
    write.cancel()
    assert await store.read(ALL) == [("a", 1)]


@in_loop
async def test_migrations_are_applied_once_and_never_reverted(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(Store(path, [first])) as store:
        await store.write(PUT, ("a", 1))
    for _ in range(2):
        with closing(Store(path, [first, second])) as store:
            assert await store.read("SELECT * FROM pairs") == [("a", 1, "none")]
    with pytest.raises(Unreachable, match=f"written by llmctl {__version__}.*schema 2.*schema 1"):
        Store(path, [first])


def test_a_failed_migration_changes_nothing(tmp_path: Path) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        second(connection)
        connection.execute("nonsense")

    path = tmp_path / "a.db"
    Store(path, [first]).close()
    with pytest.raises(Storage):
        Store(path, [first, broken])
    Store(path, [first, second]).close()


def test_a_damaged_file_is_reported_and_left_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"this is not a database" * 400)
    with pytest.raises(DamagedDatabase, match=r"a\.db"):
        Store(path, [first])
    assert path.read_bytes() == b"this is not a database" * 400


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Storage, match="unable to open") as caught:
        Store(tmp_path / "none" / "a.db", [first])
    assert not isinstance(caught.value, DamagedDatabase), "there is nothing to set aside"


@in_loop
async def test_an_immediate_write_with_an_empty_queue_is_committed_on_return(store: Store, tmp_path: Path) -> None:
    assert store.write_now(PUT, ("a", 1)).done()
    with closing(sqlite3.connect(tmp_path / "a.db")) as other:
        assert other.execute(ALL).fetchall() == [("a", 1)]


@in_loop
async def test_an_immediate_write_never_overtakes_a_queued_one(store: Store) -> None:
    """A row that is begun in the thread and ended here must not be begun after its end."""
    change = "INSERT INTO pairs (key, value) VALUES ('a', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    for round_ in range(200):
        store.write(change, (-round_,))
        await store.write_now(change, (round_,))
        assert await store.read(ALL) == [("a", round_)]


@in_loop
async def test_waiting_for_a_lock_of_another_program_does_not_block_the_loop(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = store.write_now(PUT, ("a", 1))
        assert not waiting.done()
        other.execute("COMMIT")
    assert await waiting == 1


@in_loop
async def test_the_wal_of_immediate_writes_is_checkpointed(store: Store, tmp_path: Path) -> None:
    for number in range(3 * CHECKPOINT_EVERY):
        await store.write_now(PUT, (str(number), "x" * 200))
    assert await store.read("SELECT count(*) FROM pairs") == [(3 * CHECKPOINT_EVERY,)]
    assert (tmp_path / "a.db").stat().st_size > 200 * CHECKPOINT_EVERY


# ---- reads beside the writer ----------------------------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE rows (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM rows) SELECT count(*) FROM rows"


@in_loop
async def test_a_long_search_delays_neither_writes_nor_short_reads(store: Store) -> None:
    search = asyncio.create_task(store.search(ENDLESS))
    await asyncio.sleep(0)
    assert await store.write(PUT, ("a", 1)) == 1
    assert store.write_now(PUT, ("b", 2)).done(), "nothing blocks it"
    assert await store.read(ALL) == [("a", 1), ("b", 2)]
    assert not search.done()
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search


@in_loop
async def test_a_search_whose_caller_left_is_ended_and_the_next_one_runs(store: Store) -> None:
    begun = threading.Event()

    def endless(connection: sqlite3.Connection) -> None:
        begun.set()
        connection.execute(ENDLESS).fetchall()

    search = asyncio.create_task(store.query(endless))
    await until(begun.is_set)
    waiting = asyncio.create_task(store.search(ALL))
    left = asyncio.create_task(store.search(ENDLESS))
    await asyncio.sleep(0)
    left.cancel()
    search.cancel()
    assert await waiting == []
    assert await store.search(ALL) == [], "also behind one that left before its turn"


@in_loop
async def test_closing_ends_searches_and_removes_the_wal(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db", [first])
    searches = [asyncio.create_task(store.search(ENDLESS)) for _ in range(2)]
    await asyncio.sleep(0)
    store.write(PUT, ("a", 1))
    store.close()
    for outcome in await asyncio.gather(*searches, return_exceptions=True):
        assert isinstance(outcome, Storage)
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]
    with pytest.raises(Storage, match="closed"):
        await store.read(ALL)


@in_loop
async def test_a_search_cannot_write(store: Store) -> None:
    with pytest.raises(Storage, match="readonly"):
        await store.search("DELETE FROM pairs")


@in_loop
async def test_reads_and_writes_continue_on_a_removed_file(store: Store, tmp_path: Path) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    await store.write(PUT, ("a", 1))
    assert await store.read(ALL) == await store.search(ALL) == [("a", 1)]
    assert store.lost()


@in_loop
async def test_a_database_in_memory_reads_its_own_writes() -> None:
    with closing(Store(IN_MEMORY, [first])) as store:
        store.write(PUT, ("a", 1))
        assert await store.read(ALL) == await store.search(ALL) == [("a", 1)]


# ---- what runs again ------------------------------------------------------------------------------------------------


@in_loop
async def test_operations_of_a_failed_group_run_again_and_change_the_database_once(store: Store) -> None:
    """The rule of `submit`: side effects outside the database happen again, changes of the database do not."""
    held, runs = threading.Event(), []

    def hold(connection: sqlite3.Connection) -> None:
        held.wait()

    def count(connection: sqlite3.Connection) -> int:
        runs.append("once more")
        connection.execute("UPDATE pairs SET value = value + 1 WHERE key = 'hits'")
        return int(connection.execute("SELECT value FROM pairs WHERE key = 'hits'").fetchone()[0])

    await store.write(PUT, ("hits", 0))
    holding = store.submit(hold)
    counted, wrong = store.submit(count), store.write(PUT, ("hits", 7))
    held.set()  # now both are one group
    await holding
    with pytest.raises(Storage, match="UNIQUE"):
        await wrong
    assert await counted == 1
    assert await store.read(ALL) == [("hits", 1)]
    assert len(runs) == 2


def test_durable_store_syncs_at_each_commit(tmp_path: Path) -> None:
    levels = []
    for durable in (False, True):
        with closing(Store(tmp_path / f"{durable}.db", [first], durable)) as store:
            levels += store._connection.execute("PRAGMA synchronous").fetchone()
    assert levels == [1, 2], "NORMAL, FULL"


# ---- a file that is changed from outside ----------------------------------------------------------------------------


def rows(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT word FROM words ORDER BY rowid")]


def words(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE words (word TEXT)")


def remove(path: Path) -> None:
    path.unlink()


def remove_everything(path: Path) -> None:
    for each in path.parent.iterdir():
        each.unlink()


def remove_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"another file" * 1000)
    other.rename(path)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


HARM: dict[Callable[[Path], None], str] = {
    remove: "was removed",
    remove_everything: "was removed",
    remove_the_folder: "was removed",
    replace: "was replaced",
    empty: "was truncated",
    cut_short: "was truncated",
}


@pytest.mark.parametrize("harm", HARM)
@in_loop
async def test_file_that_is_lost_is_begun_anew_by_the_next_write_or_soon(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    path, told = tmp_path / "folder" / "a.db", list[str]()
    path.parent.mkdir()
    with closing(Store(path, [words], rule=LossRule("the list", told.append))) as store:
        await store.write("INSERT INTO words VALUES ('before')")
        await store.submit(lambda connection: None)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint")
        await store.write("INSERT INTO words VALUES ('logged')")
        harm(path)
        await store.write("INSERT INTO words VALUES ('after')")
        assert await store.search("SELECT word FROM words") == [("after",)]
        assert len(told) == 1
        assert told[0].startswith(f"the list {HARM[harm]}; a new one was created")
        harm(path)
        store.look()
        await until(lambda: len(told) == 2 and path.exists())
        await store.write_now("INSERT INTO words VALUES ('later')")
        assert store.lost() is None
    assert rows(path) == ["later"]
    kept = [each for each in path.parent.glob("*.damaged-*") if each.suffix[-4:] not in ("-wal", "-shm")]
    assert len(kept) == (0 if HARM[harm] == "was removed" else 2)


@in_loop
async def test_log_that_is_removed_loses_nothing(tmp_path: Path) -> None:
    path, told = tmp_path / "a.db", list[str]()
    with closing(Store(path, [words], rule=LossRule("the list", told.append))) as store:
        await store.write("INSERT INTO words VALUES ('before')")
        assert store.lost() is None
        (tmp_path / "a.db-wal").unlink()
        await store.write("INSERT INTO words VALUES ('after')")
    assert rows(path) == ["before", "after"]
    assert told == []


@in_loop
async def test_vacuum_by_another_program_is_no_loss(tmp_path: Path) -> None:
    path, told = tmp_path / "a.db", list[str]()
    with closing(Store(path, [words], rule=LossRule("the list", told.append))) as store:
        for _ in range(50):
            await store.write("INSERT INTO words VALUES (?)", ("x" * 5000,))
        await store.write("DELETE FROM words")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            before = path.stat().st_size
            store.lost()
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert path.stat().st_size < before
        await store.write("INSERT INTO words VALUES ('after')")
    assert rows(path) == ["after"]
    assert told == []


@in_loop
async def test_damage_that_a_write_finds_is_set_aside_and_the_write_is_kept(tmp_path: Path) -> None:
    path, told = tmp_path / "a.db", list[str]()
    with closing(Store(path, [words], rule=LossRule("the list", told.append))) as store:
        for _ in range(50):
            await store.write("INSERT INTO words VALUES (?)", ("x" * 5000,))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.write(b"x" * path.stat().st_size)
        await store.write("INSERT INTO words VALUES ('after')")
        assert len(told) == 1
        assert told[0].startswith("the list is damaged")
    assert rows(path) == ["after"]


@in_loop
async def test_store_that_cannot_begin_anew_refuses_until_it_can(tmp_path: Path) -> None:
    path, told = tmp_path / "folder" / "a.db", list[str]()
    path.parent.mkdir()
    with closing(Store(path, [words], rule=LossRule("the list", told.append))) as store:
        await store.write("INSERT INTO words VALUES ('before')")
        shutil.rmtree(path.parent)
        path.parent.write_text("a file in the way")
        with pytest.raises(Storage, match=r"a\.db cannot be written"):
            await store.write("INSERT INTO words VALUES ('lost')")
        with pytest.raises(Storage, match=r"a\.db cannot be written"):
            await store.write_now("INSERT INTO words VALUES ('lost too')")
        await until(lambda: len(told) == 1)
        assert "no new one can be created" in told[0]
        path.parent.unlink()
        path.parent.mkdir()
        await store.write("INSERT INTO words VALUES ('after')")
        assert await store.search("SELECT word FROM words") == [("after",)]
    assert rows(path) == ["after"]


@in_loop
async def test_compacting_gives_the_space_of_deleted_rows_back(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "a.db", [first])) as store:
        writes = [store.write(PUT, (str(number), "x" * 1000)) for number in range(2000)]
        await asyncio.gather(*writes)
        await store.write("DELETE FROM pairs WHERE key != '7'")
        log, file = tmp_path / "a.db-wal", tmp_path / "a.db"
        assert log.stat().st_size + file.stat().st_size > 2_000_000
        await store.compact()
        assert log.stat().st_size == 0
        assert file.stat().st_size < 50_000
        assert store.lost() is None
        assert await store.read(ALL) == [("7", "x" * 1000)]
        assert await store.write(PUT, ("after", 1)) == 1


@in_loop
async def test_compacting_waits_for_no_search_that_still_reads(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "a.db", [first])) as store:
        await store.write(PUT, ("a", 1))
        reading, may_end = threading.Event(), threading.Event()

        def search(connection: sqlite3.Connection) -> int:
            rows = connection.execute(ALL)
            rows.fetchone()
            reading.set()
            may_end.wait()
            return len(rows.fetchall())

        asked = asyncio.ensure_future(store.query(search))
        await asyncio.to_thread(reading.wait)
        await store.compact()
        assert await store.write(PUT, ("b", 1)) == 1
        may_end.set()
        await asked


@in_loop
async def test_store_that_cannot_be_reopened_refuses_and_waits_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log was removed, and at that moment the disk takes nothing: the thread must live on."""
    path, told = tmp_path / "a.db", list[str]()
    with closing(Store(path, [words], rule=LossRule("the list", told.append))) as store:
        await store.write("INSERT INTO words VALUES ('before')")
        assert store.lost() is None
        with monkeypatch.context() as full:
            full.setattr(store, "_open", Mock(side_effect=sqlite3.OperationalError("database or disk is full")))
            (tmp_path / "a.db-wal").unlink()
            with pytest.raises(Storage, match="disk is full"):
                await store.write("INSERT INTO words VALUES ('lost')")
        await store.write("INSERT INTO words VALUES ('after')")
    assert rows(path) == ["before", "after"]
    assert "no new one can be created: database or disk is full" in told[0]


@pytest.mark.parametrize("harm", [remove, empty, replace])
@in_loop
async def test_store_whose_rule_begins_nothing_anew_refuses_until_somebody_orders_it(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    path, told, refilled = tmp_path / "a.db", list[str](), list[str]()
    rule = LossRule(
        "the ledger", told.append, "it was begun anew", "nothing is written until it is rebuilt",
        lambda: refilled.append("once"), begins_anew=False, hint="`llmctl budget ledger --rebuild`",
    )  # fmt: skip
    with closing(Store(path, [words], rule=rule)) as store:
        await store.write("INSERT INTO words VALUES ('before')")
        assert store.lost() is None
        harm(path)
        for _ in range(2):
            with pytest.raises(Storage, match=r"a\.db cannot be written or read: it was") as refusal:
                await store.write("INSERT INTO words VALUES ('lost')")
            assert (refusal.value.status, refusal.value.hint) == (14, "`llmctl budget ledger --rebuild`")
            store.look()
        assert told == [f"the ledger {HARM[harm]}; nothing is written until it is rebuilt"]
        assert refilled == []
        await store.begin_anew("is rebuilt")
        await store.write("INSERT INTO words VALUES ('after')")
        assert refilled == ["once"]
        assert told[1].startswith("the ledger is rebuilt; it was begun anew")
    assert rows(path) == ["after"]


@in_loop
async def test_damage_that_a_search_finds_is_set_aside_and_the_search_answered(tmp_path: Path) -> None:
    path, told = tmp_path / "a.db", list[str]()
    with closing(Store(path, [words], rule=LossRule("the list", told.append))) as store:
        for _ in range(50):
            await store.write("INSERT INTO words VALUES (?)", ("x" * 5000,))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.write(b"x" * path.stat().st_size)
        assert await store.search("SELECT word FROM words") == []
        assert len(told) == 1
        await store.write("INSERT INTO words VALUES ('after')")
    assert rows(path) == ["after"]


@in_loop
async def test_what_memory_knows_is_written_again_before_the_next_write_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    refill: list[Callable[[], object]] = []
    rule = LossRule("the list", lambda notice: None, refill=lambda: refill[0]())
    with closing(Store(path, [words], rule=rule)) as store:
        refill.append(lambda: store.write("INSERT INTO words VALUES ('known')"))
        await store.write("INSERT INTO words VALUES ('before')")
        remove(path)
        await store.write("INSERT INTO words VALUES ('after')")
        assert await store.search("SELECT word FROM words") == [("after",), ("known",)]


def test_damaged_file_is_set_aside_at_the_start_by_a_rule(tmp_path: Path) -> None:
    path, told = tmp_path / "a.db", list[str]()
    path.write_bytes(b"no database" * 1000)
    Store(path, [words], rule=LossRule("the list", told.append, "it is empty")).close()
    (aside,) = tmp_path.glob("a.db.damaged-*")
    assert told[0].startswith(f"the list was damaged ({path} cannot be written or read: ")
    assert told[0].endswith(f"); it is empty; the old one is now {aside}")
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(Storage):
        Store(path, [words], rule=LossRule("the ledger", told.append, begins_anew=False))


@in_loop
async def test_log_that_killed_hubs_left_is_checkpointed_by_the_first_write(tmp_path: Path) -> None:
    path, left = tmp_path / "a.db", tmp_path / "left"
    left.mkdir()
    with closing(Store(path, [words])) as store:
        await asyncio.gather(*(store.write("INSERT INTO words VALUES (?)", ("x" * 9000,)) for _ in range(900)))
        assert (tmp_path / "a.db-wal").stat().st_size > 4_000_000
        for name in ("a.db", "a.db-wal"):  # what a killed process leaves
            shutil.copy(tmp_path / name, left / name)
    with closing(Store(left / "a.db", [words])) as store:
        before = (left / "a.db").stat().st_size
        await store.write("INSERT INTO words VALUES ('after')")
        await store.submit(lambda connection: None)
        assert (left / "a.db").stat().st_size > before + 4_000_000
