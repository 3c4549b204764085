"""A lookup among 100,000 vectors of one wall: how long, how often the nearest is found, and what adding, loading and memory cost.

With the question data: all the real vectors there are (all-MiniLM-L6-v2), the others mixed from two real ones each with a
little noise. Half of what is asked are real questions that are not stored, a quarter mixed, a quarter stored ones with noise.
Without the data: mixed from 2,000 random directions, which is harder than questions are.
"""

import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil
from llmctld.vectors.index import Vectors

from tests.bench.cache.embedded import all_texts, embed
from tests.bench.measure import Number, spread

ENTRIES, ASKED, NEIGHBOURS, DIMENSION, SEED = 100_000, 1000, 5, 384, 6
MIB = 2**20
WALL = "wall"

Rows = np.ndarray[Any, np.dtype[np.float32]]


def measure(data: Path | None) -> list[Number]:
    faiss.omp_set_num_threads(1)
    draw = np.random.default_rng(SEED)
    real = unit(draw.normal(size=(2000, DIMENSION))) if data is None else draw.permutation(embed(all_texts(data)))
    held_out, real = real[: ASKED // 2], real[ASKED // 2 :]
    stored = np.vstack([real, mixed(real, ENTRIES - len(real), draw)])
    stored = draw.permutation(stored)
    near = unit(stored[draw.integers(0, ENTRIES, ASKED // 4)] + noise(ASKED // 4, 0.02, draw))
    asked = np.vstack([held_out, mixed(real, ASKED // 4, draw), near])
    what = f"{len(real):,} {'real' if data else 'random'} vectors, the rest mixed of two"
    with tempfile.TemporaryDirectory() as place:
        return run(Path(place) / "vectors", stored, asked, what)


def run(folder: Path, stored: Rows, asked: Rows, what: str) -> list[Number]:
    best = np.concatenate([(stored @ rows.T).max(axis=0) for rows in np.array_split(asked, 10)])
    before = resident()
    with closing(opened(folder)) as vectors:
        began = time.perf_counter()
        for number, row in enumerate(stored):
            vectors.add(WALL, number, row.tobytes())
        added = time.perf_counter() - began
        vectors.wait_idle()
        built = time.perf_counter() - began
        began = time.perf_counter()
        vectors.save()
        saved = time.perf_counter() - began
        walls = many_walls(vectors, stored)
    disk = sum(file.stat().st_size for file in folder.iterdir()) / MIB
    between = resident()
    began = time.perf_counter()
    with closing(opened(folder)) as vectors:
        loaded = time.perf_counter() - began
        memory = resident() - between
        took, found = [], 0
        for row, cosine in zip(asked, best, strict=True):
            began = time.perf_counter()
            nearest = vectors.search(WALL, row.tobytes(), NEIGHBOURS)
            took.append((time.perf_counter() - began) * 1e3)
            found += nearest[0][1] >= cosine - 1e-5
        brute = slow(stored, asked[:50])
    return [
        Number(
            f"lookup among {ENTRIES:,} vectors of one wall, p50",
            statistics.median(took),
            "ms",
            3.0,
            f"{what}; {spread(took)}",
        ),
        Number("... recall@1 of exact search", found / len(asked), "", 0.99, f"{len(asked):,} asked", least=True),
        Number("... one by one instead", statistics.median(brute), "ms"),
        Number("... to add one", added / len(stored) * 1e6, "us"),
        Number("... until its graph is ready, from nothing", built, "s", note="meanwhile it is searched one by one"),
        Number("... to save all", saved, "s"),
        Number("... to open the folder", loaded, "s"),
        Number(
            "... memory",
            memory,
            "MiB",
            note=f"{DIMENSION * 4 * ENTRIES / MIB:.0f} of them the vectors; {before:.0f} before",
        ),
        Number("... on disk", disk, "MiB"),
        Number("lookup in a wall of one, beside 10,000 such walls, p50", walls, "ms"),
    ]


def many_walls(vectors: Vectors, rows: Rows) -> float:
    """Milliseconds."""
    took = []
    for number in range(10_000):
        vectors.add(f"{number}", ENTRIES + number, rows[number].tobytes())
    for number in range(1000):
        began = time.perf_counter()
        assert len(vectors.search(f"{number}", rows[number].tobytes(), NEIGHBOURS)) == 1
        took.append((time.perf_counter() - began) * 1e3)
    for number in range(10_000):
        vectors.remove(ENTRIES + number)
    return statistics.median(took)


def slow(stored: Rows, asked: Rows) -> list[float]:
    took = []
    for row in asked:
        began = time.perf_counter()
        faiss.knn(row[None], stored, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        took.append((time.perf_counter() - began) * 1e3)
    return took


def opened(folder: Path) -> Vectors:
    vectors = Vectors(folder, DIMENSION)
    vectors.open()
    return vectors


def mixed(rows: Rows, many: int, draw: np.random.Generator) -> Rows:
    """Between two of them, nearer to the first, and a little beside."""
    share = draw.uniform(0.2, 0.5, (many, 1))
    one, other = rows[draw.integers(0, len(rows), many)], rows[draw.integers(0, len(rows), many)]
    return unit((1 - share) * one + share * other + noise(many, 0.01, draw))


def noise(many: int, size: float, draw: np.random.Generator) -> Any:
    return draw.normal(scale=size, size=(many, DIMENSION))


def unit(rows: Any) -> Rows:
    made: Rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")
    return made


def resident() -> float:
    """MiB of this process."""
    return float(psutil.Process().memory_info().rss / MIB)
