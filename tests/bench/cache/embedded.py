"""Texts as vectors, through a hub with all-MiniLM-L6-v2, as the cache has them; made once in a process."""

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.cache.data import NEAR, PAIRS, STREAM
from tests.e2e.house import house

MODEL = "all-MiniLM-L6-v2"


def embed(texts: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A row of length 1 for each text. About 5 ms each, the first time: the rows are kept in the folder for temporary files."""
    key = hashlib.sha256("\0".join([MODEL, *texts]).encode()).hexdigest()[:24]
    kept = Path(tempfile.gettempdir()) / f"llmctl-bench-{os.getuid()}-{key}.npy"
    if kept.exists():
        rows = np.load(kept, allow_pickle=False)
    else:
        lines = "\n".join(" ".join(text.split()) for text in texts)
        with house() as home:
            out = home.home / "rows.npy"
            home.ok("embed", "-m", MODEL, "-o", out, stdin=lines, timeout=600 + len(texts) / 20)
            rows = np.load(out, allow_pickle=False).astype("<f4")
        np.save(kept, rows)
    assert len(rows) == len(texts)
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@cache
def all_texts(folder: Path) -> list[str]:
    """Every question of the data, once."""
    found: dict[str, None] = {}
    for name, fields in ((STREAM, ("text",)), (NEAR, ("a", "b")), (PAIRS, ("a", "b"))):
        with gzip.open(folder / name, "rt", encoding="utf-8") as file:
            for line in map(json.loads, file):
                found.update((line[field], None) for field in fields)
    return list(found)
