"""The nearest of many vectors, each behind its wall. numpy and faiss are imported on first use.

All vectors lie in one table, which is the image of a file (slots.py). A wall's vectors are compared one by one while they are
few; of many, most are in a graph (hnsw.py), the newest beside it, and what the graph finds is compared again exactly. It does not
know what a wall is made of, or what its numbers mean.

    flat   wall -> slots compared one by one         graph  wall -> a graph over its other slots
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
from llmctld.vectors.slots import CHECKSUM, Slots, damaged, refused

if TYPE_CHECKING:
    import numpy as np

    from llmctld.vectors import hnsw

HEAD = CHECKSUM + 8 + 16
"""Bytes of a slot before the vector: checksum, number, wall."""
ROOM = 256
"""Slots that the table begins with; it grows by a quarter."""
COPIED = 256
"""So many vectors are copied at a time for a graph that nobody asks yet."""
PAUSE_S = 0.002
"""Between two insertions into a graph in use: a lock is not fair, and who looks something up goes first."""


class Sizes(NamedTuple):
    """`flat`: so many vectors of a wall are compared one by one. `batch`: so many are inserted while a search waits."""

    flat: int = 4096
    batch: int = 16


class Check(NamedTuple):
    """Numbers that the caller has and this lacks, and the other way round."""

    missing: list[int]
    surplus: list[int]


class Vectors:
    """Vectors of `dimension` float32 numbers and length 1, in `folder`, which holds those of one embedding model only.

    All of it blocks: call it from a thread. What `add` and `remove` did is kept when the process is killed; a power cut may undo
    what was done since `save`. Raises Storage when the disk refuses, ValueError for a vector of another dimension or length.
    """

    def __init__(self, folder: Path, dimension: int, sizes: Sizes = Sizes()) -> None:  # noqa: B008
        self._folder, self._dimension, self._sizes = folder, dimension, sizes
        kind = f"llmctl vectors 1: {dimension} float32".encode()
        self._file = Slots(folder / "vectors.bin", HEAD + 4 * dimension, kind)
        self._turn = threading.Lock()
        """Whose holder uses what follows."""
        self._slot: dict[int, int] = {}
        self._flat: dict[bytes, array[int]] = {}
        self._graph: dict[bytes, hnsw.Graph] = {}
        self._free: list[int] = []
        self._builder = Builder("graphs over vectors", self._tend)
        """Makes graphs, and lets them grow."""

    def open(self) -> list[str]:
        """Reads the folder, which is made if need be; words for each file that was damaged. Call `check` afterwards."""
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
            elif number in self._slot:  # the disk refused to remove one of them: nobody knows which
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
            with refused(path):
                graph = hnsw.Graph.read(path, self._dimension) if wall in self._flat else None
                if graph is not None:
                    self._take(wall, graph)
                elif wall in self._flat:
                    told.append(damaged(path, "the graph of a wall"))
                else:
                    path.unlink()
        for wall in list(self._flat):
            self._look(wall)
        return told

    def close(self) -> None:
        """Saves nothing: `save` does. A graph that is half made is given up."""
        self._builder.close()
        self._file.close()

    # ---- what it holds -----------------------------------------------------------------------------------------------

    def size(self) -> int:
        return len(self._slot)

    def check(self, numbers: Iterable[int]) -> Check:
        """What differs from what the caller holds: it adds the missing ones again, and removes what is too much."""
        with self._turn:
            theirs = set(numbers)
            return Check(sorted(theirs - self._slot.keys()), sorted(self._slot.keys() - theirs))

    def add(self, wall: str, number: int, vector: Sequence[float] | bytes) -> None:
        """Takes the place of another vector of this number, in whichever wall."""
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
        """Whether it was there. From now on it is not found, also where the disk refuses."""
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
        else:  # the last one: the file gets small again
            self._free.clear()
            self._file.cut(0)
        return True

    def search(self, wall: str, vector: Sequence[float] | bytes, k: int) -> list[tuple[int, float]]:
        """Number and cosine of the `k` nearest behind this wall, the best first; all of them where there are fewer."""
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
        """Afterwards a power cut takes nothing, and the next `open` finds the graphs. A second at 100,000 vectors of 384."""
        self._file.sync()
        with self._turn:
            for wall, graph in self._graph.items():
                if graph.changed:
                    path = self._path(wall)
                    with refused(path):
                        graph.write(path)

    def _path(self, wall: bytes) -> Path:
        return self._folder / f"graph-{wall.hex()}.bin"

    # ---- graphs ------------------------------------------------------------------------------------------------------

    def _look(self, wall: bytes) -> None:
        """Whether there is something to do for the builder, or for nobody any more."""
        flat, graph = len(self._flat.get(wall, ())), self._graph.get(wall)
        if graph is not None and flat + len(graph.position) <= self._sizes.flat // 2:
            self._flat.setdefault(wall, array("q")).extend(graph.position)
            if not self._flat[wall]:
                del self._flat[wall]
            del self._graph[wall]
            with suppress(OSError):  # what stays is looked at, and found to be of no use
                self._path(wall).unlink(missing_ok=True)
        elif flat > self._sizes.flat or (graph is not None and graph.worn):
            self._builder.want(wall)

    def settle(self) -> None:
        """Waits until every graph is as it should be."""
        self._builder.settle()

    def _tend(self, wall: bytes) -> None:
        with self._turn:
            grows = wall in self._graph and not self._graph[wall].worn
        (self._grow if grows else self._build)(wall)

    def _grow(self, wall: bytes) -> None:
        """Moves what lies beside the graph into it, a few at a time."""
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
        """Another graph of the whole wall; the old one is asked until this is ready."""
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
        """Their checksums and vectors."""
        return self._table["crc"][slots].tolist(), self._table["vector"][slots]

    def _members(self, wall: bytes) -> "array[int]":
        graph = self._graph.get(wall)
        return self._flat.get(wall, array("q")) + array("q", graph.position if graph else ())

    def _take(self, wall: bytes, graph: "hnsw.Graph") -> None:
        """Uses `graph` from now on: without what has gone since it was made, or is another by now, and beside it what is new."""
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
