"""The disk level: bytes in, bytes out, never pickle, bounded, and it survives damage."""

import pickle
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from llmctld.cache.disk import BytesDisk, Disk

LIMIT = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with closing(Disk(tmp_path / "answers", LIMIT, 3600.0)) as made:
        yield made


SMALL, LARGE = b"\x00small\xff", bytes(range(256)) * 400  # in the database, in a file of its own


@pytest.mark.parametrize("value", [b"", SMALL, LARGE])
def test_what_is_put_outlives_the_process(tmp_path: Path, disk: Disk, value: bytes) -> None:
    disk.put("k", value, "model")
    assert disk.get("k") == value
    assert disk.get("other") is None
    disk.close()
    with closing(Disk(tmp_path / "answers", LIMIT, 3600.0)) as again:
        assert again.get("k") == value


def test_a_ttl_ends_an_entry(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.put("k", SMALL, "model")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3599)
    assert disk.get("k") == SMALL
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    assert disk.get("k") is None


def test_clearing_takes_one_models_answers_or_all(disk: Disk) -> None:
    for number in range(150):  # more than diskcache removes in one go
        disk.put(f"{number}", LARGE if number % 50 == 0 else SMALL, "even" if number % 2 == 0 else "odd")
    assert disk.clear("none") == 0
    assert disk.clear("odd") == 75
    assert disk.get("1") is None
    assert disk.get("0") == LARGE
    assert disk.clear(None) == 75
    assert disk.size()[0] == 0


def test_the_oldest_go_when_it_is_full(disk: Disk) -> None:
    for number in range(20):
        disk.put(f"{number}", LARGE, "model")
        assert disk.size()[1] <= LIMIT
    held = [number for number in range(20) if disk.get(f"{number}") is not None]
    assert held == list(range(20 - len(held), 20))
    assert len(held) >= 5


def test_a_value_larger_than_the_limit_empties_it_and_harms_nothing(disk: Disk) -> None:
    disk.put("small", SMALL, "model")
    disk.put("huge", b"x" * (2 * LIMIT), "model")
    assert disk.size()[1] <= LIMIT
    disk.put("small", SMALL, "model")
    assert disk.get("small") == SMALL


# ---- pickle (CVE-2025-69872) ----------------------------------------------------------------------------------------


class Bomb:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("value", ["text", 7, 1.5, None, {"a": 1}, bytearray(b"x"), memoryview(b"x")])
def test_nothing_but_bytes_is_written(disk: Disk, value: object) -> None:
    with pytest.raises(TypeError, match="must be bytes"):
        disk.put("k", value, "model")  # type: ignore[arg-type]
    assert disk.get("k") is None


@pytest.mark.parametrize("key", [7, b"k", ("a",), None])
def test_nothing_but_str_is_a_key(disk: Disk, key: object) -> None:
    with pytest.raises(TypeError, match="must be str"):
        disk.put(key, SMALL, "model")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pickled key"):
        BytesDisk("").get(pickle.dumps(key), raw=False)


def plant(folder: Path, key: str, mode: int, value: object, filename: str | None = None) -> None:
    """What another program, or an attacker, writes into the database."""
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.execute(
            "UPDATE Cache SET mode = ?, value = ?, filename = ? WHERE key = ?", (mode, value, filename, key)
        )


@pytest.mark.parametrize("in_file", [False, True])
def test_a_planted_pickle_is_refused_and_not_run(tmp_path: Path, disk: Disk, in_file: bool) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "trace"))
    disk.put("k", SMALL, "model")
    if in_file:
        (tmp_path / "answers" / "bomb.val").write_bytes(bomb)
    plant(tmp_path / "answers", "k", 4, None if in_file else bomb, "bomb.val" if in_file else None)
    with pytest.raises(ValueError, match="refused"):
        disk.get("k")
    assert not (tmp_path / "trace").exists()
    disk.put("k", SMALL, "model")
    assert disk.get("k") == SMALL


@pytest.mark.parametrize(("mode", "value"), [(1, "text"), (1, 7), (3, "text")])
def test_a_planted_value_that_is_not_bytes_is_refused(tmp_path: Path, disk: Disk, mode: int, value: object) -> None:
    disk.put("k", SMALL, "model")
    plant(tmp_path / "answers", "k", mode, value)
    with pytest.raises((ValueError, TypeError)):
        disk.get("k")


def test_a_planted_pickle_does_not_keep_the_disk_from_making_room(tmp_path: Path, disk: Disk) -> None:
    disk.put("bomb", SMALL, "model")
    plant(tmp_path / "answers", "bomb", 4, pickle.dumps(Bomb(tmp_path / "trace")))
    for number in range(20):
        disk.put(f"{number}", LARGE, "model")
    assert disk.size()[1] <= LIMIT
    assert not (tmp_path / "trace").exists()


# ---- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repair", [False, True])
def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path, repair: bool) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"not a database at all" * 500)
    with closing(Disk(folder, LIMIT, 3600.0, repair=repair)) as disk:
        disk.put("k", SMALL, "model")
        assert disk.get("k") == SMALL
    assert [path.name.partition(".")[0] for path in tmp_path.iterdir() if path != folder] == ["answers"]


def test_a_database_with_a_broken_middle_is_put_aside_after_a_crash(tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    with closing(Disk(folder, LIMIT, 3600.0)) as disk:
        for number in range(300):
            disk.put(f"{number}", b"x" * 1000, "model")
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (folder / "cache.db").open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 200_000)
    with closing(Disk(folder, LIMIT, 3600.0, repair=True)) as disk:
        disk.put("k", SMALL, "model")
        assert disk.get("k") == SMALL


def test_files_that_a_crash_left_behind_are_removed(tmp_path: Path, disk: Disk) -> None:
    disk.put("k", LARGE, "model")
    disk.close()
    orphan = tmp_path / "answers" / "aa" / "bb" / "orphan.val"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x" * 1000)
    with closing(Disk(tmp_path / "answers", LIMIT, 3600.0, repair=True)) as again:
        assert not orphan.exists()
        assert again.get("k") == LARGE
