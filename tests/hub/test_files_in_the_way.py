"""What stands in the place of a file: a folder, a link to itself, an empty file. A database is begun anew beside it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from llmctld.cache.levels.disk import DiskLevel
from llmctld.history import History
from llmctld.storage.files import clear_way
from llmctld.storage.identity import unusable

from tests.hub.scene import a_disk, in_loop


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def empty(path: Path) -> None:
    path.touch()


def truncated(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE a (b)")
        connection.executemany("INSERT INTO a VALUES (?)", [("x" * 1000,)] * 20)
        connection.commit()
    with path.open("r+b") as file:
        file.truncate(5000)


WAYS = [(folder, "is no file"), (loop, "is a link to itself"), (empty, "is empty"), (truncated, "is truncated")]


@pytest.mark.parametrize(("make", "words"), WAYS)
@in_loop
async def test_a_history_is_begun_anew_and_says_why(make: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    make(path)
    history = History(path)
    assert await history.open() == 0
    await history.save({"number": history.next_number(), "id": "a", "at": 1.0, "user": "ana", "state": "done"})
    history.close()
    (news,) = history.news
    assert words in news
    assert "history.db.damaged-" in news
    assert unusable(path) is None
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM requests").fetchall() == [("a",)]


@pytest.mark.parametrize(("make", "words"), WAYS)
def test_the_disk_level_is_begun_anew_and_says_why(make: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    make(tmp_path / "answers" / "cache.db")
    level = a_disk(tmp_path / "answers")
    assert level.news is not None
    assert "have been discarded" in level.news
    assert isinstance(level, DiskLevel)
    level.close()
    (aside,) = tmp_path.glob("answers.damaged-*")
    assert aside.is_dir()


def test_a_truncated_file_with_a_log_may_be_whole(tmp_path: Path) -> None:
    """A process that is killed while it copies the log into the file leaves that."""
    truncated(tmp_path / "a.db")
    (tmp_path / "a.db-wal").write_bytes(b"log")
    assert unusable(tmp_path / "a.db") is None
    assert unusable(tmp_path / "none.db") is None


def test_only_what_is_no_file_is_in_the_way(tmp_path: Path) -> None:
    for make in (folder, loop, empty):
        path = tmp_path / make.__name__
        make(path)
        clear_way(path)
        assert path.exists() == (make is empty)
