"""Finds the nearest of many vectors within a wall. Imports numpy and faiss on first use.

All vectors are in one table, the image of a file (slots.py). A small wall is searched by brute force; of a large one
most vectors are in a graph (hnsw.py) and the newest beside it, and results of the graph are compared again exactly.
Knows neither what a wall nor what a number stands for.

    flat   wall -> slots searched by brute force     graph  wall -> a graph over its other slots
    table  slot -> checksum, number, wall, vector    slot   number -> slot
"""

import threading
import time
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmctl.paths import make_private
from llmctld.vectors.builder import Builder
from llmctld.vectors.slots import CHECKSUM, Slots, set_damaged_aside, storage_errors

if TYPE_CHECKING:
    import numpy as np

    from llmctld.vectors import hnsw

HEAD = CHECKSUM + 8 + 16
"""Bytes before the vector in a slot: checksum, number, wall."""
ROOM = 256
"""Initial number of slots; the table grows by a quarter."""
COPIED = 256
"""Vectors copied at a time for a graph that is being built."""
PAUSE_S = 0.002
"""Pause between two insertions into a graph in use: locks are not fair, and searches go first."""


class Sizes(NamedTuple):
    """`flat`: largest wall searched by brute force. `batch`: vectors inserted per lock."""

    flat: int = 4096
    batch: int = 16


class IndexDifference(NamedTuple):
    """Numbers that only the caller has, and numbers that only the index has."""

    missing: list[int]
    surplus: list[int]


class Vectors:
    """Unit vectors of `dimension` float32 numbers in `folder`, all of one embedding model.

    Every method blocks: call it from a thread. `add` and `remove` survive a killed process; a power cut may undo what
    followed the last `save`. Raises Storage for disk errors, ValueError for a vector of another dimension or length.
    """

    def __init__(self, folder: Path, dimension: int, sizes: Sizes = Sizes()) -> None:  # noqa: B008
        self._folder, self._dimension, self._sizes = folder, dimension, sizes
        kind = f"llmctl vectors 1: {dimension} float32".encode()
        self._file = Slots(folder / "vectors.bin", HEAD + 4 * dimension, kind)
        self._turn = threading.Lock()
        """Guards all fields below."""
        self._slot: dict[int, int] = {}
        self._flat: dict[bytes, array[int]] = {}
        self._graph: dict[bytes, hnsw.Graph] = {}
        self._free: list[int] = []
        self._builder = Builder("graphs over vectors", self._tend)
        """Builds and extends graphs."""

    def open(self) -> list[str]:
        """Reads the folder, or creates it. Returns a notice for each damaged file. Call `check` afterwards."""
        _import()
        make_private(self._folder)
        for leftover in self._folder.glob("*.new-*"):
            leftover.unlink(missing_ok=True)
        self._record = record_of(self._dimension)
        image, told = self._file.open()
        self._table = np.frombuffer(image, self._record).copy()
        del image
        walls, twice = self._table["wall"].tobytes(), set()
        for slot, number in enumerate(self._table["number"].tolist()):
            wall = walls[16 * slot : 16 * slot + 16]
            if wall == bytes(16):
                self._free.append(slot)
            elif number in self._slot:  # a removal failed on a full disk: it is unknown which one is stale
                twice.add(number)
                self._file.clear(slot)
                self._free.append(slot)
            else:
                self._slot[number] = slot
                self._flat.setdefault(wall, array("q")).append(slot)
        for number in twice:
            self._remove(number)
        return told + self._load_graphs()

    def _load_graphs(self) -> list[str]:
        told = []
        for path in self._folder.glob(f"graph-{'[0-9a-f]' * 32}.bin"):
            wall = bytes.fromhex(path.stem.removeprefix("graph-"))
            with storage_errors(path):
                graph = hnsw.Graph.read(path, self._dimension) if wall in self._flat else None
                if graph is not None:
                    self._take(wall, graph)
                elif wall in self._flat:
                    told.append(set_damaged_aside(path, "the graph of a wall"))
                else:
                    path.unlink()
        for wall in list(self._flat):
            self._look(wall)
        return told

    def close(self) -> None:
        """Does not save. A graph under construction is dropped."""
        self._builder.close()
        self._file.close()

    # ---- what it holds -----------------------------------------------------------------------------------------------

    def size(self) -> int:
        return len(self._slot)

    def check(self, numbers: Iterable[int]) -> IndexDifference:
        """Compares with the caller's numbers; the caller adds what is missing and removes the rest."""
        with self._turn:
            theirs = set(numbers)
            return IndexDifference(sorted(theirs - self._slot.keys()), sorted(self._slot.keys() - theirs))

    def add(self, wall: str, number: int, vector: Sequence[float] | bytes) -> None:
        """Adds a vector, replacing one with this number in any wall."""
        row, name = self._row(vector), digest(wall)
        with self._turn:
            self._remove(number)
            slot = self._free.pop() if self._free else len(self._slot)
            if slot >= len(self._table):
                self._table.resize(max(ROOM, slot + slot // 4), refcheck=False)
            self._table[slot] = (0, number, name, row)
            try:
                self._table["crc"][slot] = self._file.write(slot, self._table[slot].tobytes()[CHECKSUM:])
            except BaseException:
                self._free.append(slot)
                raise
            self._slot[number] = slot
            self._flat.setdefault(name, array("q")).append(slot)
            self._look(name)

    def remove(self, number: int) -> bool:
        """Removes a vector; whether it existed. It is not found from now on, even if the disk refuses the write."""
        with self._turn:
            return self._remove(number)

    def _remove(self, number: int) -> bool:
        slot = self._slot.pop(number, None)
        if slot is None:
            return False
        wall = self._table["wall"][slot].tobytes()
        graph, flat = self._graph.get(wall), self._flat.get(wall)
        if graph is not None and slot in graph.position:
            graph.forget(slot)
            self._look(wall)
        elif flat is not None:
            flat.remove(slot)
            if not flat:
                del self._flat[wall]
        self._table[slot] = np.zeros((), self._record)
        self._free.append(slot)
        if self._slot:
            self._file.clear(slot)
        else:  # the last one: the file shrinks
            self._free.clear()
            self._file.cut(0)
        return True

    def clear(self) -> None:
        """Removes all vectors."""
        with self._turn:
            for number in list(self._slot):
                self._remove(number)

    def lost(self) -> str | None:
        """What happened to the file of vectors, in words, if it is not the open one; None if it is. Costs two stats."""
        return self._file.lost()

    def restore(self) -> str | None:
        """Writes a lost file again from memory. Returns a notice, None if it is not lost."""
        with self._turn:
            return self._file.restore(self._table.tobytes())

    def search(self, wall: str, vector: Sequence[float] | bytes, k: int) -> list[tuple[int, float]]:
        """(number, cosine) of the `k` nearest in the wall, nearest first."""
        row, name = self._row(vector), digest(wall)
        with self._turn:
            found: list[int] = []
            if flat := self._flat.get(name):
                found += (flat[place] for place in hnsw.nearest(row, self._table["vector"][flat], k))
            if graph := self._graph.get(name):
                found += graph.near(row, k)
            cosines = np.clip(self._table["vector"][found] @ row, -1.0, 1.0)
            nearest = zip(self._table["number"][found].tolist(), cosines.tolist(), strict=True)
            return sorted(nearest, key=lambda one: (-one[1], one[0]))[:k]

    def _row(self, vector: Sequence[float] | bytes) -> "np.ndarray[Any, np.dtype[np.float32]]":
        row = np.frombuffer(vector, "<f4") if isinstance(vector, bytes) else np.array(vector, "<f4")
        length = float(np.sqrt(np.square(row).sum()))
        if row.shape != (self._dimension,) or not abs(length - 1) < 1e-3:
            raise ValueError(
                f"a vector of shape {row.shape} and length {length:.4g}; it must be ({self._dimension},) and 1"
            )
        return row

    # ---- on disk -----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Makes everything so far survive a power cut, and stores the graphs. Takes a second for 100,000 vectors of
        384 numbers.
        """
        self._file.sync()
        with self._turn:
            for wall, graph in self._graph.items():
                if graph.changed:
                    path = self._path(wall)
                    with storage_errors(path):
                        graph.write(path)

    def _path(self, wall: bytes) -> Path:
        return self._folder / f"graph-{wall.hex()}.bin"

    # ---- graphs ------------------------------------------------------------------------------------------------------

    def _look(self, wall: bytes) -> None:
        """Wakes the builder if the wall needs a graph; deletes a graph that it no longer needs."""
        flat, graph = len(self._flat.get(wall, ())), self._graph.get(wall)
        if graph is not None and flat + len(graph.position) <= self._sizes.flat // 2:
            self._flat.setdefault(wall, array("q")).extend(graph.position)
            if not self._flat[wall]:
                del self._flat[wall]
            del self._graph[wall]
            with suppress(OSError):  # a file that stays is ignored when it is read
                self._path(wall).unlink(missing_ok=True)
        elif flat > self._sizes.flat or (graph is not None and graph.needs_rebuild):
            self._builder.request(wall)

    def wait_idle(self) -> None:
        """Waits until the builder is idle."""
        self._builder.wait_idle()

    def _tend(self, wall: bytes) -> None:
        with self._turn:
            grows = wall in self._graph and not self._graph[wall].needs_rebuild
        (self._grow if grows else self._build)(wall)

    def _grow(self, wall: bytes) -> None:
        """Moves vectors beside the graph into it, in small batches."""
        while not self._builder.closing:
            with self._turn:
                flat, graph = self._flat.get(wall), self._graph.get(wall)
                if not flat or graph is None:
                    return
                some = flat[: self._sizes.batch]
                graph.insert(some, *self._rows(some))
                del flat[: len(some)]
                if not flat:
                    del self._flat[wall]
            time.sleep(PAUSE_S)

    def _build(self, wall: bytes) -> None:
        """Builds a new graph for the wall; searches use the old one meanwhile."""
        fresh = hnsw.Graph(self._dimension)
        with self._turn:
            slots = self._members(wall)
        for start in range(0, len(slots), COPIED):
            some = slots[start : start + COPIED]
            with self._turn:
                copied = self._rows(some)
            if self._builder.closing:
                return
            fresh.insert(some, *copied)
        with self._turn:
            self._take(wall, fresh)

    def _rows(self, slots: "array[int]") -> tuple[list[int], Any]:
        """Checksums and vectors of the slots."""
        return self._table["crc"][slots].tolist(), self._table["vector"][slots]

    def _members(self, wall: bytes) -> "array[int]":
        graph = self._graph.get(wall)
        return self._flat.get(wall, array("q")) + array("q", graph.position if graph else ())

    def _take(self, wall: bytes, graph: "hnsw.Graph") -> None:
        """Replaces the wall's graph. Drops vectors changed since it was built; new ones stay beside it."""
        members = dict.fromkeys(self._members(wall))
        for slot in list(graph.position):
            if slot not in members or int(self._table["crc"][slot]) != graph.checks[graph.position[slot]]:
                graph.forget(slot)
        self._graph[wall] = graph
        self._flat[wall] = array("q", (slot for slot in members if slot not in graph.position))
        if not self._flat[wall]:
            del self._flat[wall]
        self._look(wall)


def record_of(dimension: int) -> "np.dtype[np.void]":
    return np.dtype([("crc", "<u4"), ("number", "<i8"), ("wall", "V16"), ("vector", "<f4", (dimension,))])


def digest(wall: str) -> bytes:
    return blake2b(wall.encode(), digest_size=16).digest()


def _import() -> None:
    """On first use: numpy and faiss take 15 MiB each, and 0.2 s."""
    global hnsw, np
    import numpy as np

    from llmctld.vectors import hnsw
