"""The disk level: bytes in, bytes out, never pickle, bounded, and it survives damage."""

import pickle
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from llmctld.cache.eviction import Item
from llmctld.cache.level import CachedValue, seal
from llmctld.cache.levels.disk import BytesDisk, DiskLevel
from llmctld.cache.levels.level_thread import LevelThread

from tests.hub.scene import a_disk, in_loop

LIMIT = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskLevel]:
    with closing(a_disk(tmp_path / "answers", LIMIT)) as made:
        yield made


def put(disk: DiskLevel, key: str, value: bytes, lifetime: float = 3600.0) -> list[str]:
    return disk.put(key, value, time.time() + lifetime, Item(1, 1.0))


def value_of(found: CachedValue | None) -> bytes | None:
    return None if found is None else found.value


SMALL, LARGE = b"\x00small\xff", bytes(range(256)) * 400  # one stored in the database, one in a file


@pytest.mark.parametrize("value", [b"", SMALL, LARGE])
def test_stored_values_survive_a_restart(tmp_path: Path, disk: DiskLevel, value: bytes) -> None:
    put(disk, "k", value)
    assert value_of(disk.get("k")) == value
    assert value_of(disk.get("other")) is None
    disk.close()
    with closing(a_disk(tmp_path / "answers", LIMIT)) as again:
        assert value_of(again.get("k")) == value


def test_entry_expires_after_its_ttl(disk: DiskLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    put(disk, "k", SMALL)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3599)
    assert value_of(disk.get("k")) == SMALL
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    assert value_of(disk.get("k")) is None


def test_delete_removes_the_given_keys_and_clear_removes_all(disk: DiskLevel) -> None:
    for number in range(150):  # more than diskcache removes in one go
        put(disk, f"{number}", LARGE if number % 50 == 0 else SMALL)
    assert disk.delete(["none"]) == 0
    assert disk.delete([f"{number}" for number in range(1, 150, 2)]) == 75
    assert value_of(disk.get("1")) is None
    assert value_of(disk.get("0")) == LARGE
    assert disk.exists(["0", "1", "none"]) == {"0"}
    assert disk.clear() == 75
    assert disk.size()[0] == 0


def test_expiry_time_is_stored_precisely(disk: DiskLevel) -> None:
    end = time.time() + 1000
    disk.put("k", SMALL, end, Item(1, 1.0))
    found = disk.get("k")
    assert found is not None
    assert found.expires == pytest.approx(end, abs=0.1)


def test_sweep_removes_expired_entries(disk: DiskLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    put(disk, "short", LARGE, 10.0)
    put(disk, "long", SMALL, 1000.0)
    assert disk.sweep() == []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 11)
    assert disk.exists(["short", "long"]) == {"long"}
    assert disk.sweep() == ["short"]
    assert disk.size()[0] == 1
    assert not list(disk._folder.glob("*/*/*.val"))


def test_evicted_entries_are_chosen_by_the_policy_and_reported(disk: DiskLevel) -> None:
    assert disk.load_policy({}) == []
    gone = []
    for number in range(20):
        gone += put(disk, f"{number}", LARGE)
        disk.hit({"0": 1})
        assert disk.size()[1] <= LIMIT
    held = [number for number in range(20) if value_of(disk.get(f"{number}")) is not None]
    assert held == [0, *range(20 - len(held) + 1, 20)]
    assert len(held) >= 5
    assert sorted(map(int, gone)) == [number for number in range(20) if number not in held]


def test_nothing_is_evicted_before_the_policy_knows_the_entries(tmp_path: Path, disk: DiskLevel) -> None:
    for number in range(20):
        assert put(disk, f"{number}", LARGE) == []
    disk.close()
    items = {f"{number}": Item(len(LARGE), 1.0) for number in (3, 2, 1, 0)}
    with closing(a_disk(tmp_path / "answers", LIMIT)) as again:
        put(again, "new", LARGE)
        gone = again.load_policy(items)
        assert again.size()[1] <= LIMIT
        assert not {*"0123", "new"} & {*gone}, "entries unknown to the policy are evicted first"
        assert again.exists([*"0123", "new"]) == {*"0123", "new"}
        assert again.load_policy({}) == [], "the policy knows the entries now"


def test_value_larger_than_the_limit_is_not_stored_and_others_stay(disk: DiskLevel) -> None:
    disk.load_policy({})
    put(disk, "small", SMALL)
    put(disk, "huge", SMALL)
    assert put(disk, "huge", b"x" * (2 * LIMIT)) == ["huge"]
    assert value_of(disk.get("huge")) is None, "the value it replaces is gone too"
    assert value_of(disk.get("small")) == SMALL


# ---- pickle (CVE-2025-69872) ----------------------------------------------------------------------------------------


class Bomb:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("value", ["text", 7, 1.5, None, {"a": 1}, bytearray(b"x"), memoryview(b"x")])
def test_only_bytes_are_stored(disk: DiskLevel, value: object) -> None:
    with pytest.raises(TypeError, match="must be bytes"):
        put(disk, "k", value)  # type: ignore[arg-type]
    assert value_of(disk.get("k")) is None


@pytest.mark.parametrize("key", [7, b"k", ("a",), None])
def test_only_str_keys_are_accepted(disk: DiskLevel, key: object) -> None:
    with pytest.raises(TypeError, match="must be str"):
        put(disk, key, SMALL)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pickled key"):
        BytesDisk("").get(pickle.dumps(key), raw=False)


def plant(folder: Path, key: str, mode: int, value: object, filename: str | None = None) -> None:
    """What another program, or an attacker, writes into the database."""
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.execute(
            "UPDATE Cache SET mode = ?, value = ?, filename = ? WHERE key = ?", (mode, value, filename, key)
        )


@pytest.mark.parametrize("in_file", [False, True])
def test_a_planted_pickle_is_refused_and_not_run(tmp_path: Path, disk: DiskLevel, in_file: bool) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "trace"))
    put(disk, "k", SMALL)
    if in_file:
        (tmp_path / "answers" / "bomb.val").write_bytes(bomb)
    plant(tmp_path / "answers", "k", 4, None if in_file else bomb, "bomb.val" if in_file else None)
    with pytest.raises(ValueError, match="refused"):
        disk.get("k")
    assert not (tmp_path / "trace").exists()
    put(disk, "k", SMALL)
    assert value_of(disk.get("k")) == SMALL


@pytest.mark.parametrize(("mode", "value"), [(1, "text"), (1, 7), (3, "text")])
def test_a_planted_value_that_is_not_bytes_is_refused(
    tmp_path: Path, disk: DiskLevel, mode: int, value: object
) -> None:
    put(disk, "k", SMALL)
    plant(tmp_path / "answers", "k", mode, value)
    with pytest.raises((ValueError, TypeError)):
        disk.get("k")


def test_planted_pickle_does_not_block_eviction(tmp_path: Path, disk: DiskLevel) -> None:
    disk.load_policy({})
    put(disk, "bomb", SMALL)
    plant(tmp_path / "answers", "bomb", 4, pickle.dumps(Bomb(tmp_path / "trace")))
    for number in range(20):
        put(disk, f"{number}", LARGE)
    assert disk.size()[1] <= LIMIT
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("size", [100, 100_000])
def test_corrupted_value_is_refused(tmp_path: Path, disk: DiskLevel, size: int) -> None:
    put(disk, "k", b"x" * size)
    for path in (tmp_path / "answers").glob("*/*/*.val"):
        path.write_bytes(path.read_bytes()[:-50] + bytes(50))  # as after a power cut: the right length, but zeros
    if size == 100:
        plant(tmp_path / "answers", "k", 1, seal(b"x" * size)[:-50] + bytes(50))
    with pytest.raises(ValueError, match="checksum"):
        disk.get("k")


# ---- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repair", [False, True])
def test_file_that_is_not_a_database_is_set_aside(tmp_path: Path, repair: bool) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"not a database at all" * 500)
    with closing(a_disk(folder, LIMIT, repair=repair)) as disk:
        put(disk, "k", SMALL)
        assert value_of(disk.get("k")) == SMALL
    assert [path.name.partition(".")[0] for path in tmp_path.iterdir() if path != folder] == ["answers"]


def test_partly_damaged_database_is_set_aside_after_a_crash(tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    with closing(a_disk(folder, LIMIT)) as disk:
        for number in range(300):
            put(disk, f"{number}", b"x" * 1000)
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (folder / "cache.db").open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 200_000)
    with closing(a_disk(folder, LIMIT, repair=True)) as disk:
        put(disk, "k", SMALL)
        assert value_of(disk.get("k")) == SMALL


def damage(kind: str, database: Path) -> None:
    """Damage a closed database: zeros in all pages but the first, or an index page in place of all others like it."""
    data = bytearray(database.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    if kind == "zeros":
        data[size:] = bytes(len(data) - size)
    else:  # each page is whole: SQLite's quick check finds nothing
        first, *others = [at for at in range(size, len(data), size) if data[at] == 0x0A]
        for at in others:
            data[at : at + size] = data[first : first + size]
    database.write_bytes(data)


@in_loop
@pytest.mark.parametrize("kind", ["zeros", "copied"])
async def test_a_damaged_page_sets_the_level_aside(tmp_path: Path, kind: str) -> None:
    """The hub ended properly before, so nothing is checked when it opens the level."""
    folder = tmp_path / "answers"
    with closing(a_disk(folder, LIMIT)) as disk:
        for number in range(400):
            put(disk, f"{number:032x}", b"x" * 500)
    damage(kind, folder / "cache.db")
    thread = LevelThread("disk", partial(_opened, folder), LIMIT)
    for number in range(400):  # one of them meets the page
        await thread.write(partial(_put, f"{number:032x}"), None)
        await thread.read(partial(_get, f"{number:032x}"), None)
    assert not thread.failing
    await thread.write(partial(_put, "k"), None)
    assert await thread.read(partial(_get, "k"), None) == SMALL
    await thread.close()
    told = [news for news in thread.news if "damaged" in news]
    assert len(told) == 1
    assert [path.name.partition(".")[0] for path in tmp_path.iterdir() if path != folder] == ["answers"]


def _put(key: str, level: DiskLevel) -> None:
    put(level, key, SMALL)


def _get(key: str, level: DiskLevel) -> bytes | None:
    return value_of(level.get(key))


def _opened(folder: Path, repair: bool) -> DiskLevel:
    return a_disk(folder, LIMIT, repair)


def test_files_that_a_crash_left_behind_are_removed(tmp_path: Path, disk: DiskLevel) -> None:
    put(disk, "k", LARGE)
    disk.close()
    orphan = tmp_path / "answers" / "aa" / "bb" / "orphan.val"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x" * 1000)
    with closing(a_disk(tmp_path / "answers", LIMIT, repair=True)) as again:
        assert not orphan.exists()
        assert value_of(again.get("k")) == LARGE
