"""A small file written whole: what happens to it from outside is said once, and it is written again from memory."""

from collections.abc import Callable
from pathlib import Path

import pytest
from llmctld.storage.loss import LossRule
from llmctld.storage.state_file import StateFile
from llmctld.storage.watch import Watch


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"of another program")
    other.rename(path)


def change(path: Path) -> None:
    path.write_bytes(b"of another program")


HARM: dict[Callable[[Path], None], str] = {
    remove: "was removed",
    replace: "was replaced",
    change: "was changed by another program",
}


def made(folder: Path, told: list[str], content: bytes | None = b"known") -> StateFile:
    file = StateFile(
        folder / "a.json", LossRule("the list", told.append, under_way="it is written again"), lambda: content
    )
    file.write(b"known")
    return file


@pytest.mark.parametrize("harm", HARM)
def test_lost_file_is_said_once_and_written_again_from_memory(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    told: list[str] = []
    file = made(tmp_path, told)
    for _ in range(2):
        file.look()
    assert told == []
    harm(file.path)
    for _ in range(2):
        file.look()
    assert file.path.read_bytes() == b"known"
    aside = list(tmp_path.glob("a.json.damaged-*"))
    moved = f"; the old one is now {aside[0]}" if aside else ""
    assert told == [f"the list {HARM[harm]}; it is written again{moved}"]
    assert [each.read_bytes() for each in aside] == ([] if harm is remove else [b"of another program"])


def test_next_write_notices_a_lost_file_too(tmp_path: Path) -> None:
    told: list[str] = []
    file = made(tmp_path, told)
    replace(file.path)
    file.write(b"newer")
    assert file.path.read_bytes() == b"newer"
    assert len(told) == 1


def test_file_that_memory_does_not_know_stays_lost(tmp_path: Path) -> None:
    told: list[str] = []
    file = made(tmp_path, told, content=None)
    remove(file.path)
    file.look()
    assert (file.path.exists(), told) == (False, [])


def test_file_that_somebody_edited_stays_where_the_owner_accepts_it(tmp_path: Path) -> None:
    told: list[str] = []
    rule = LossRule("the list", told.append)
    file = StateFile(tmp_path / "a.json", rule, lambda: b"known", accepts=lambda content: content.startswith(b"of"))
    file.write(b"known")
    replace(file.path)
    file.look()
    assert (file.path.read_bytes(), told) == (b"of another program", [])


def test_file_that_cannot_be_written_again_is_tried_until_it_can(tmp_path: Path) -> None:
    told: list[str] = []
    file = StateFile(tmp_path / "folder" / "a.json", LossRule("the list", told.append), lambda: b"known")
    file.path.parent.mkdir()
    file.write(b"known")
    remove(file.path)
    file.path.parent.rmdir()
    file.path.parent.write_text("a file in the way")
    file.look()
    assert told == []
    file.path.parent.unlink()
    file.look()
    assert (file.path.read_bytes(), len(told)) == (b"known", 1)


class Counted:
    """A store that counts how often it is looked at."""

    looks = 0

    def look(self) -> None:
        self.looks += 1


class Broken:
    """A store whose folder, say, can no longer be read."""

    def look(self) -> None:
        raise PermissionError


def test_store_that_cannot_be_looked_at_stops_neither_the_heartbeat_nor_the_others() -> None:
    watch, store = Watch(), Counted()
    watch.add(Broken(), store)
    watch.beat(busy=True)
    assert store.looks == 1


def test_idle_hub_looks_at_nothing() -> None:
    watch, store = Watch(), Counted()
    watch.add(store)
    for _ in range(5):
        watch.beat(busy=False)
    assert store.looks == 0
    watch.beat(busy=True)
    watch.stir()
    for _ in range(5):
        watch.beat(busy=False)
    assert store.looks == 2
