"""Vectors separated by walls: the results of a slow reference, after any additions, removals, kills and damage."""

import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from llmctld.vectors.index import IndexDifference, Sizes, Vectors

from llmctl.errors import Storage
from tests.stress.scale import count, seeded

DIMENSION = 8
SMALL = Sizes(flat=12, batch=4)
"""So that a dozen make a graph."""


def unit(seed: int, dimension: int = DIMENSION) -> list[float]:
    row = np.random.default_rng(seed).normal(size=dimension)
    found: list[float] = (row / np.linalg.norm(row)).astype("f4").tolist()
    return found


def opened(folder: Path, dimension: int = DIMENSION, sizes: Sizes = SMALL) -> Vectors:
    vectors = Vectors(folder, dimension, sizes)
    vectors.open()
    return vectors


@pytest.fixture
def vectors(tmp_path: Path) -> Iterator[Vectors]:
    with closing(opened(tmp_path / "v")) as made:
        yield made


# ---- the slow twin --------------------------------------------------------------------------------------------------


class Twin(RuleBasedStateMachine):
    """Compares each with all."""

    def __init__(self) -> None:
        super().__init__()
        self.place = TemporaryDirectory()
        self.folder = Path(self.place.name) / "0"
        self.vectors = opened(self.folder)
        self.held: dict[int, tuple[str, list[float]]] = {}

    def teardown(self) -> None:
        self.vectors.close()
        self.place.cleanup()

    @rule(wall=st.sampled_from("abc"), number=st.integers(0, 60), seed=st.integers(0, 40))
    def add(self, wall: str, number: int, seed: int) -> None:
        self.vectors.add(wall, number, unit(seed))
        self.held[number] = wall, unit(seed)

    @rule(first=st.integers(0, 60), many=st.integers(13, 40))
    def add_many(self, first: int, many: int) -> None:
        for number in range(first, first + many):
            self.add("a", number, number * 7 % 40)

    @rule(number=st.integers(0, 60))
    def remove(self, number: int) -> None:
        assert self.vectors.remove(number) == (number in self.held)
        self.held.pop(number, None)

    @rule(first=st.integers(0, 60), many=st.integers(5, 40))
    def remove_many(self, first: int, many: int) -> None:
        for number in range(first, first + many):
            self.remove(number)

    @rule()
    def settle(self) -> None:
        self.vectors.wait_idle()

    @rule(saves=st.booleans(), closes=st.booleans())
    def start_again(self, saves: bool, closes: bool) -> None:
        """Without `closes` it goes on with what a killed process would have left."""
        if saves:
            self.vectors.save()
        if closes:
            self.vectors.close()
        after = self.folder.with_name(str(int(self.folder.name) + 1))
        after.mkdir()
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # an outdated graph has just been removed
                shutil.copy(path, after)
        if not closes:
            self.vectors.close()
        self.folder, self.vectors = after, opened(after)

    @rule(wall=st.sampled_from("abcd"), seed=st.integers(0, 60), k=st.integers(1, 6))
    def search(self, wall: str, seed: int, k: int) -> None:
        row = np.array(unit(seed))
        theirs = {number: float(np.dot(held, row)) for number, (behind, held) in self.held.items() if behind == wall}
        found = self.vectors.search(wall, unit(seed), k)
        assert len(dict(found)) == len(found) == min(k, len(theirs))
        assert [cosine for _, cosine in found] == pytest.approx(sorted(theirs.values(), reverse=True)[:k], abs=1e-6)
        assert dict(found) == pytest.approx({number: theirs[number] for number, _ in found}, abs=1e-6)

    @invariant()
    def holds_the_same(self) -> None:
        assert self.vectors.size() == len(self.held)
        assert self.vectors.check(self.held) == IndexDifference([], [])


Twin.TestCase.settings = settings(
    max_examples=count(800),
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestTwin = Twin.TestCase


def near(number: int) -> Any:
    """The result for exactly this vector."""
    return [(number, pytest.approx(1.0))]


# ---- what a caller sees ---------------------------------------------------------------------------------------------


def test_searches_find_only_vectors_of_the_same_wall(vectors: Vectors) -> None:
    vectors.add("mine", 1, unit(1))
    assert vectors.search("mine", unit(1), 5) == near(1)
    assert vectors.search("yours", unit(1), 5) == []
    vectors.add("yours", 1, unit(2))
    assert vectors.search("mine", unit(1), 5) == []
    assert vectors.size() == 1


def test_vectors_are_accepted_as_numbers_or_bytes(vectors: Vectors) -> None:
    vectors.add("w", 1, np.array(unit(1), "<f4").tobytes())
    assert vectors.search("w", unit(1), 1) == vectors.search("w", np.array(unit(1), "<f4").tobytes(), 1)


@pytest.mark.parametrize("wrong", [[], [1.0], [0.0] * 8, [float("nan")] * 8, [1.0] * 8, bytes(32), unit(1, 9)])
def test_a_vector_of_another_shape_or_length_is_refused(vectors: Vectors, wrong: "list[float] | bytes") -> None:
    with pytest.raises(ValueError, match="must be"):
        vectors.add("w", 1, wrong)
    with pytest.raises(ValueError, match="must be"):
        vectors.search("w", wrong, 1)
    assert vectors.size() == 0


def test_files_are_readable_by_their_user_only(tmp_path: Path, vectors: Vectors) -> None:
    fill(vectors, 40)
    vectors.save()
    files = list((tmp_path / "v").iterdir())
    assert len(files) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "v").stat().st_mode) == 0o700


def test_a_thousand_walls_use_one_file_and_little_memory(tmp_path: Path, vectors: Vectors) -> None:
    for number in range(1000):
        vectors.add(f"conversation {number}", number, unit(number))
    vectors.save()
    assert [file.name for file in (tmp_path / "v").iterdir()] == ["vectors.bin"]
    assert vectors.search("conversation 7", unit(7), 5) == near(7)
    assert not vectors._builder._thread


def fill(vectors: Vectors, many: int, wall: str = "w") -> None:
    for number in range(many):
        vectors.add(wall, number, unit(number))
    vectors.wait_idle()


def found_by_itself(vectors: Vectors, many: int, wall: str = "w") -> list[int]:
    return [number for number in range(many) if vectors.search(wall, unit(number), 1)[0][0] == number]


def test_removed_vectors_are_in_no_file(tmp_path: Path, vectors: Vectors) -> None:
    fill(vectors, 40)
    vectors.save()
    whole, half = np.array(unit(5), "<f4").tobytes(), np.array(unit(5), "<f2").tobytes()

    def lies_about() -> list[str]:
        read = {path.name[:5]: path.read_bytes() for path in (tmp_path / "v").iterdir()}
        return sorted(name for name, data in read.items() if whole in data or half in data)

    assert lies_about() == ["graph", "vecto"]
    vectors.remove(5)
    vectors.save()
    assert lies_about() == []
    assert found_by_itself(vectors, 40) == [number for number in range(40) if number != 5]


def test_a_folder_shrinks_when_its_vectors_are_removed(tmp_path: Path, vectors: Vectors) -> None:
    fill(vectors, 40)
    vectors.save()
    for number in range(40):
        vectors.remove(number)
    vectors.wait_idle()
    assert sum(file.stat().st_size for file in (tmp_path / "v").iterdir()) < 100
    assert vectors.search("w", unit(1), 3) == []
    fill(vectors, 20)
    assert found_by_itself(vectors, 20) == list(range(20))


def test_neighbours_are_found_behind_more_removed_ones_than_candidates(tmp_path: Path) -> None:
    """Four hundred near vectors are removed; the next hundred are still found."""
    row = np.array(unit(0))
    with closing(opened(tmp_path / "v", sizes=Sizes(flat=50, batch=16))) as vectors:
        for number in range(900):
            near = row + 0.01 * np.array(unit(number + 1)) if number < 280 else np.array(unit(number + 1))
            vectors.add("w", number, (near / np.linalg.norm(near)).tolist())
        vectors.wait_idle()
        for number in range(280):
            vectors.remove(number)
        found = vectors.search("w", unit(0), 5)
        assert len(found) == 5
        assert min(number for number, _ in found) >= 280


# ---- crashes and damage ---------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from llmctld.vectors.index import Sizes, Vectors
from tests.hub.test_vectors import SMALL, unit
vectors = Vectors(Path(sys.argv[1]), 8, SMALL)
vectors.open()
number = int(sys.argv[2])
while True:
    vectors.add("w", number, unit(number))
    print("+", number, flush=True)
    if number % 3 == 0:
        vectors.remove(number - 2)
        print("-", number - 2, flush=True)
    if number % 50 == 0:
        vectors.save()
    number += 1
"""


def test_a_killed_process_keeps_acknowledged_vectors(tmp_path: Path) -> None:
    held, draw = set[int](), seeded()
    for turn in range(count(40)):
        command = [sys.executable, "-c", CHILD, str(tmp_path / "v"), str(10_000 * turn + 3)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(draw.randrange(20, 200)):
                take(child.stdout.readline(), held)
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().splitlines()
        for line in rest:
            take(line, held)
        with closing(opened(tmp_path / "v")) as vectors:
            missing, surplus = vectors.check(held)
            assert len(missing) + len(surplus) <= 1  # done and not yet acknowledged
            held = held.difference(missing).union(surplus)
            last = max(held)
            assert vectors.search("w", unit(last), 1)[0][0] == last


def take(line: str, held: set[int]) -> None:
    sign, number = line.split()
    (held.add if sign == "+" else held.discard)(int(number))


@contextmanager
def damaged(folder: Path, name: str = "vectors.bin") -> Iterator[bytearray]:
    """The bytes of the file whose name begins so, to be altered."""
    (path,) = folder.glob(f"{name}*")
    data = bytearray(path.read_bytes())
    yield data
    path.write_bytes(data)


RECORD = 4 + 8 + 16 + 4 * DIMENSION


def after_damage(folder: Path) -> tuple[list[str], IndexDifference, list[str]]:
    """What was reported, what is missing of forty, what was set aside; finally all vectors are added again."""
    vectors = Vectors(folder, DIMENSION, SMALL)
    told = vectors.open()
    with closing(vectors):
        check = vectors.check(range(40))
        for number in check.missing:
            vectors.add("w", number, unit(number))
        vectors.wait_idle()
        assert found_by_itself(vectors, 40) == list(range(40))
    return told, check, sorted(path.name for path in folder.glob("*.damaged-*"))


@pytest.fixture
def forty(tmp_path: Path) -> Path:
    with closing(opened(tmp_path / "v")) as vectors:
        fill(vectors, 40)
        vectors.save()
    return tmp_path / "v"


def test_only_a_torn_record_is_missing(forty: Path) -> None:
    with damaged(forty) as data:
        data[8 * RECORD - 5] ^= 1
    assert after_damage(forty) == ([], IndexDifference([6], []), [])


def test_a_record_torn_at_the_end_is_missing(forty: Path) -> None:
    with damaged(forty) as data:
        del data[-7:]
    assert after_damage(forty) == ([], IndexDifference([39], []), [])


def test_a_damaged_file_is_set_aside_and_its_valid_records_kept(forty: Path) -> None:
    with damaged(forty) as data:
        data[3 * RECORD : 5 * RECORD] = os.urandom(2 * RECORD)
    told, check, aside = after_damage(forty)
    assert "2 of its records" in told[0]
    assert aside[0] in told[0]
    assert check == IndexDifference([2, 3], [])


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", bytes(5000), os.urandom(5000)], ids=["empty", "short", "zero", "random"]
)
def test_a_file_that_is_something_else_is_set_aside(forty: Path, content: bytes) -> None:
    (forty / "vectors.bin").write_bytes(content)
    told, check, aside = after_damage(forty)
    assert len(told) == len(aside) == 1
    assert check.missing == list(range(40))


def test_a_file_of_another_dimension_is_set_aside(forty: Path) -> None:
    vectors = Vectors(forty, 9)
    assert "its beginning" in vectors.open()[0]
    with closing(vectors):
        assert vectors.size() == 0


def test_all_vectors_of_a_lost_file_are_reported_missing(forty: Path) -> None:
    (forty / "vectors.bin").unlink()
    assert after_damage(forty)[1].missing == list(range(40))
    assert after_damage(forty) == ([], IndexDifference([], []), [])


@pytest.mark.parametrize("place", [0, 6, 40, 200, -1])
def test_a_damaged_graph_is_set_aside_and_rebuilt(forty: Path, place: int) -> None:
    with damaged(forty, "graph-") as data:
        data[place] ^= 0x40
    told, check, aside = after_damage(forty)
    assert "the graph of a wall" in told[0]
    assert len(aside) == 1
    assert check == IndexDifference([], [])


def test_an_outdated_graph_omits_removed_vectors_and_finds_new_ones(forty: Path) -> None:
    (graph,) = forty.glob("graph-*")
    old = graph.read_bytes()
    with closing(opened(forty)) as vectors:
        for number in range(20):
            vectors.remove(number)
        for number in range(100, 110):
            vectors.add("w", number, unit(number))
        vectors.add("w", 20, unit(200))
        vectors.add("other", 0, unit(0))
    graph.write_bytes(old)
    with closing(opened(forty)) as vectors:
        assert vectors.search("w", unit(200), 1) == near(20)
        assert [vectors.search("w", unit(number), 1)[0][0] for number in range(100, 110)] == list(range(100, 110))
        assert not {number for seed in range(20) for number, _ in vectors.search("w", unit(seed), 31)} & set(range(20))


def test_unfinished_files_are_deleted(forty: Path) -> None:
    (forty / "graph-00.bin.new-x").write_bytes(b"half")
    assert after_damage(forty) == ([], IndexDifference([], []), [])
    assert not list(forty.glob("*.new-*"))


def test_a_full_disk_is_reported_and_stored_vectors_are_still_found(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "v")) as vectors:
        fill(vectors, 10)
        size = (tmp_path / "v" / "vectors.bin").stat().st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
        try:
            with pytest.raises(Storage, match=r"vectors\.bin cannot be written"):
                vectors.add("w", 10, unit(10))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert vectors.check(range(11)) == IndexDifference([10], [])
        assert found_by_itself(vectors, 10) == list(range(10))
        vectors.add("w", 10, unit(10))
    with closing(opened(tmp_path / "v")) as vectors:
        assert found_by_itself(vectors, 11) == list(range(11))


def test_an_unusable_vector_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "v" / "vectors.bin").mkdir(parents=True)
    vectors = Vectors(tmp_path / "v", DIMENSION)
    with pytest.raises(Storage, match=r"vectors\.bin cannot be written or read"):
        vectors.open()
    vectors.close()


def test_searches_continue_while_a_graph_is_built(tmp_path: Path) -> None:
    draw, held = random.Random(1), [-1]
    with closing(opened(tmp_path / "v", sizes=Sizes(flat=200, batch=16))) as vectors:
        vectors.add("w", -1, unit(5000))
        for number in range(1, 2000):
            vectors.add("w", number, unit(number))
            held.append(number)
            if number % 5 == 0:
                vectors.remove(gone := held.pop(draw.randrange(1, len(held))))
                assert gone not in dict(vectors.search("w", unit(gone), 5))
            asked = draw.choice(held[1:])
            assert vectors.search("w", unit(asked), 1)[0][0] == asked
        vectors.wait_idle()
        assert len(vectors._flat.get(next(iter(vectors._graph)), ())) <= 200


@pytest.mark.parametrize("harm", ["removed", "replaced", "truncated"])
def test_file_that_is_lost_while_it_is_open_is_written_again(tmp_path: Path, harm: str) -> None:
    made = Vectors(tmp_path, 2)
    made.open()
    for number in range(3):
        made.add("wall", number, [1.0, 0.0])
    path = tmp_path / "vectors.bin"
    assert (made.lost(), made.restore()) == (None, None)
    if harm == "removed":
        path.unlink()
    elif harm == "replaced":
        (tmp_path / "other").write_bytes(b"other" * 1000)
        (tmp_path / "other").rename(path)
    else:
        os.truncate(path, path.stat().st_size - 1)
    made.add("wall", 1, [0.0, 1.0])
    assert made.lost() == f"was {harm}"
    notice = made.restore()
    assert notice is not None
    assert f"{path} was {harm}; it is written again from memory" in notice
    assert (made.lost(), made.restore()) == (None, None)
    made.add("wall", 7, [1.0, 0.0])
    made.close()
    again = Vectors(tmp_path, 2)
    assert again.open() == []
    assert again.check([0, 1, 2, 7]) == ([], [])
    assert [number for number, _ in again.search("wall", [0.0, 1.0], 1)] == [1]
    again.close()
