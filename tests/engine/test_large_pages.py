"""A mapped file that was moved to large pages reads the same; small files and full machines are left alone."""

import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from llmctld.engine.llama.internals import large_pages
from llmctld.engine.llama.internals.large_pages import LARGE, LargePages

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not Path("/sys/kernel/mm/transparent_hugepage").exists(),
    reason="only Linux moves pages, if its kernel has large ones",
)
SIZE = 5 * LARGE + 4097


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(os.urandom(SIZE))
    return tmp_path / "weights"


@pytest.fixture
def mapped(file: Path) -> Iterator[mmap.mmap]:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as whole:
        yield whole


def of_file(file: Path) -> int:
    """Bytes of the address space that are this file."""
    return sum(end - begin for begin, end in large_pages._mapped(file))


def test_moved_pages_read_the_same_and_are_no_longer_the_files(file: Path, mapped: mmap.mmap) -> None:
    content = file.read_bytes()
    assert of_file(file) >= SIZE
    pages = LargePages(file, least=0)
    while pages.move():
        assert mapped[:] == content
    assert mapped[:] == content
    assert of_file(file) < 2 * LARGE, "what lies before the first boundary and after the last one stays"
    file.write_bytes(b"")
    assert mapped[LARGE : 4 * LARGE] == content[LARGE : 4 * LARGE], "a truncated file does not reach them"


def test_a_small_file_is_left_alone(file: Path, mapped: mmap.mmap) -> None:
    assert not LargePages(file).move()
    assert of_file(file) >= len(mapped)


@pytest.mark.parametrize("available", [f"MemAvailable: {3 * SIZE // 2 // 1024} kB\n", "MemFree: 1 kB\n", None])
def test_a_machine_without_twice_the_memory_is_left_alone(
    file: Path, mapped: mmap.mmap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: str | None
) -> None:
    if available is not None:
        (tmp_path / "meminfo").write_text(available)
    monkeypatch.setattr(large_pages, "MEMORY", tmp_path / "meminfo")
    assert not LargePages(file, least=0).move()
    assert of_file(file) >= len(mapped)


def test_memory_that_a_control_group_withholds_is_not_available(tmp_path: Path) -> None:
    """A page of its own counts against the group's limit, and cannot be dropped as a file's can."""
    for name, text in (
        ("proc/meminfo", "MemAvailable: 4096 kB\n"),
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/memory.max", "3000000\n"),
        ("sys/fs/cgroup/memory.current", "2000000\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert large_pages._available(tmp_path) == 1_000_000
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert large_pages._available(tmp_path) == 4096 * 1024


def test_a_system_that_lists_no_mappings_moves_nothing(
    file: Path, mapped: mmap.mmap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_pages, "MAPS", tmp_path / "none")
    assert not LargePages(file, least=0).move()
    assert len(mapped) == SIZE
