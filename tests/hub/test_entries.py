"""The stored questions: nearest neighbours, what is known about them, and repair of the index from the database."""

import math
import struct
from pathlib import Path

import pytest
from llmctld.semantic.decision.pair import Pair
from llmctld.semantic.entries import Entries, digest, packed
from llmctld.vectors.index import Vectors

from tests.hub.scene import in_loop

DIMENSION = 8


def vector(angle: float) -> bytes:
    """A unit vector; the cosine of two of them is the cosine of the difference of their angles."""
    return struct.pack(f"<{DIMENSION}f", math.cos(angle), math.sin(angle), *([0.0] * (DIMENSION - 2)))


async def opened(folder: Path) -> Entries:
    entries = Entries(folder, DIMENSION)
    await entries.open()
    return entries


async def filled(folder: Path) -> Entries:
    entries = await opened(folder)
    for key, wall, angle in (("a", "w", 0.0), ("b", "w", 0.5), ("c", "w", 1.0), ("d", "other", 0.0)):
        await entries.add(key, wall, f"question {key}", digest(key), vector(angle))
    return entries


@in_loop
async def test_near_returns_entries_of_the_same_partition_best_first(tmp_path: Path) -> None:
    entries = await filled(tmp_path)
    near = await entries.near("w", vector(0.1), 2)
    assert [(entry.key, entry.text) for entry, _ in near] == [("a", "question a"), ("b", "question b")]
    assert [similarity for _, similarity in near] == pytest.approx([math.cos(0.1), math.cos(0.4)], abs=1e-6)
    assert await entries.near("nobody's", vector(0.1), 2) == []
    assert (entries.count_behind("w"), entries.count_behind("other"), entries.count_behind("nobody's")) == (3, 1, 0)
    await entries.close()


@in_loop
async def test_repeated_question_updates_its_entry_and_keeps_its_counts(tmp_path: Path) -> None:
    entries = await filled(tmp_path)
    (before,) = [entry for entry, _ in await entries.near("w", vector(0.0), 1)]
    await entries.count_comparison(before.number, True)
    await entries.count_comparison(before.number, False)
    await entries.add("a", "w", "question a", digest("new"), vector(0.0))
    after = await entries.of("a")
    assert after is not None
    assert (after.number, after.same, after.different, after.answer) == (before.number, 1, 1, digest("new"))
    assert entries.count_behind("w") == 3
    await entries.close()


@in_loop
async def test_removed_entries_are_not_found_even_after_a_restart(tmp_path: Path) -> None:
    entries = await filled(tmp_path)
    assert await entries.remove(["a", "nothing"]) == 1
    assert [entry.key for entry, _ in await entries.near("w", vector(0.0), 5)] == ["b", "c"]
    await entries.close()
    entries = await opened(tmp_path)
    assert [entry.key for entry, _ in await entries.near("w", vector(0.0), 5)] == ["b", "c"]
    assert entries.count_behind("w") == 2
    await entries.add("e", "w", "question e", digest("e"), vector(0.0))
    found = await entries.of("e")
    assert found is not None
    assert found.number == 5, "a number is never used again"
    await entries.close()


@in_loop
async def test_vector_index_is_repaired_from_the_database(tmp_path: Path) -> None:
    entries = await filled(tmp_path)
    await entries.close()
    index = Vectors(tmp_path / "index", DIMENSION)
    index.open()
    index.remove(2)
    index.add("w", 77, vector(0.1))
    index.close()
    entries = await opened(tmp_path)
    assert [entry.key for entry, _ in await entries.near("w", vector(0.1), 5)] == ["a", "b", "c"]
    await entries.close()
    index = Vectors(tmp_path / "index", DIMENSION)
    index.open()
    assert index.check([1, 2, 3, 4]) == ([], [])
    index.close()


@in_loop
async def test_a_damaged_database_is_set_aside_and_its_index_emptied(tmp_path: Path) -> None:
    entries = await filled(tmp_path)
    await entries.close()
    for name in ("semantic.db", "semantic.db-wal"):
        (tmp_path / name).write_bytes(b"nothing that SQLite would read" * 50)
    entries = await opened(tmp_path)
    assert any("damaged" in news for news in entries.news)
    assert await entries.near("w", vector(0.0), 5) == []
    assert await entries.keys() == []
    assert list(tmp_path.glob("semantic.db.damaged-*"))
    await entries.close()


@in_loop
async def test_served_hits_are_listed_with_their_verdicts(tmp_path: Path) -> None:
    entries = await filled(tmp_path)
    entry = await entries.of("b")
    assert entry is not None
    pair = Pair(0.9, 0.5, 1, 0.9, 3, False, 0, 0)
    for request in ("one", "two"):
        await entries.serve(request, entry, 0.9, packed(pair))
    await entries.verdict("one", "different")
    served = await entries.served("b")
    assert [(each.request, each.verdict) for each in served] == [("two", None), ("one", "different")]
    assert served[0].pair == packed(pair)
    await entries.add_same_answer("c", entry.answer)
    other = await entries.of("c")
    assert other is not None
    assert other.answer == entry.answer
    await entries.keep("state", b"1")
    await entries.keep("state", b"2")
    assert (await entries.kept("state"), await entries.kept("nothing")) == (b"2", None)
    count, size = await entries.size()
    assert count == 4
    assert size == sum(len(f"question {key}") for key in "abcd") + 4 * 4 * DIMENSION
    await entries.close()
