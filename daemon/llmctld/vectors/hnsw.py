"""An HNSW graph over vectors in half precision, and brute-force comparison: the only file that imports faiss.

The graph's order is approximate; its caller compares the results exactly. HNSW cannot delete: a removed vector leaves
a position that searches skip. index.py imports this module on first use.
"""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from llmctl.files import write_whole
from llmctld.vectors.slots import CHECKSUM, is_intact, seal

LINKS, BUILD, LOOK = 32, 100, 256
"""Links per vector; candidates kept during insertion; candidates kept during search."""
GONE = -1

faiss.omp_set_num_threads(1)  # cores are for models


def nearest(row: Any, rows: Any, k: int) -> list[int]:
    """Indices of the `k` nearest rows, by comparing all."""
    _, places = faiss.knn(row[None], rows, min(k, len(rows)), faiss.METRIC_INNER_PRODUCT)
    found: list[int] = places[0].tolist()
    return found


class Graph:
    """An HNSW graph over the vectors of one wall. `slots`: position -> slot in the table, GONE if it was removed."""

    def __init__(self, dimension: int, index: Any = None) -> None:
        kind: Any = faiss.ScalarQuantizer.QT_fp16
        self.index: Any = index or faiss.IndexHNSWSQ(dimension, kind, LINKS, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = BUILD
        self.slots, self.checks = array("q"), array("I")
        """Position -> slot, and the checksum of its vector."""
        self.position: dict[int, int] = {}
        self.changed = False
        """Whether it has changed since the last write."""

    @property
    def needs_rebuild(self) -> bool:
        """Whether a third or more of the positions are removed vectors."""
        return len(self.position) * 3 <= len(self.slots) * 2

    def insert(self, slots: Sequence[int], checks: Sequence[int], rows: Any) -> None:
        self.index.add(rows)
        self.position.update(zip(slots, range(len(self.slots), self.index.ntotal), strict=True))
        self.slots.extend(slots)
        self.checks.extend(checks)
        self.changed = True

    def forget(self, slot: int) -> None:
        """Removes the slot. Its position gets the vector of its first neighbour, so that paths through it remain."""
        place = self.position.pop(slot)
        self.slots[place] = GONE
        self.changed = True
        hnsw = self.index.hnsw
        storage: Any = faiss.downcast_index(self.index.storage)
        first = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())[hnsw.offsets.at(place)]
        codes = faiss.rev_swig_ptr(storage.codes.data(), storage.codes.size()).reshape(-1, storage.code_size)
        codes[place] = codes[first] if first >= 0 else 0

    def near(self, row: Any, k: int) -> list[int]:
        """Slots of about `k` near vectors, fewer if there are no more."""
        want, total = k + 8, self.index.ntotal
        while True:
            want = min(want, total)
            self.index.hnsw.efSearch = max(LOOK, want)
            _, places = self.index.search(row[None], want)
            found = [self.slots[place] for place in places[0].tolist() if place >= 0 and self.slots[place] != GONE]
            if len(found) >= min(k, len(self.position)) or want == total:
                return found
            want *= 4

    # file format: checksum | number of positions | slots | checksums | index as faiss writes it

    def write(self, path: Path) -> None:
        """Raises OSError."""
        count = len(self.slots).to_bytes(8, "little")
        payload = b"".join((count, self.slots.tobytes(), self.checks.tobytes(), faiss.serialize_index(self.index).data))
        write_whole(path, seal(payload), sync=True)
        self.changed = False

    @classmethod
    def read(cls, path: Path, dimension: int) -> "Graph | None":
        """The graph, or None if the file is damaged. Raises OSError."""
        whole = memoryview(path.read_bytes())
        if len(whole) < CHECKSUM + 8 or not is_intact(whole):
            return None
        count, at = int.from_bytes(whole[CHECKSUM : CHECKSUM + 8], "little"), CHECKSUM + 8
        try:
            index = faiss.deserialize_index(np.frombuffer(whole[at + 12 * count :], np.uint8))
        except RuntimeError:  # written by another version of faiss
            return None
        if index.ntotal != count or index.d != dimension:
            return None
        graph = cls(dimension, index)
        graph.slots.frombytes(whole[at : at + 8 * count])
        graph.checks.frombytes(whole[at + 8 * count : at + 12 * count])
        graph.position = {slot: place for place, slot in enumerate(graph.slots) if slot != GONE}
        return graph
