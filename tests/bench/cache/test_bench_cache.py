"""What the figures of the caches rest on: the split of the groups, targets in both directions, words for who gives no data."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

from tests.bench.cache import data
from tests.bench.measure import Number
from tests.e2e.house import REPOSITORY


def test_groups_are_split_by_the_crc_of_their_decimal_number() -> None:
    halves = [data.Question("?", group).reported for group in range(1000)]
    assert halves[:6] == [True, True, True, True, False, False]
    assert 450 < sum(halves) < 550


def test_a_target_may_be_a_least_value() -> None:
    assert Number("hits", 0.3, "", 0.25, least=True).row() == "| hits | 0.3  | >= 0.25  | pass |"
    assert not Number("hits", 0.2, "", 0.25, least=True).passes
    assert Number("wrong", 0.2, "", 0.25).passes


def test_a_folder_is_read_as_it_is(tmp_path: Path) -> None:
    assert data.missing(tmp_path) == [data.STREAM, data.NEAR, data.PAIRS]
    for name, line in ((data.STREAM, {"text": "a?", "group": 7}), (data.NEAR, {"a": "a?", "b": "b?", "same": 0})):
        with gzip.open(tmp_path / name, "wt") as file:
            file.write(json.dumps(line) + "\n")
    assert data.missing(tmp_path) == [data.PAIRS]
    assert data.stream(tmp_path) == [data.Question("a?", 7)]
    assert data.near_pairs(tmp_path) == [data.TextPair("a?", "b?", False)]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.bench.cache", "--no-log", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)


def test_who_names_no_row_or_no_data_is_told_what_there_is(tmp_path: Path) -> None:
    unknown = run("--rows", "nonsense")
    assert unknown.returncode == 2
    assert "there is no row nonsense: there are " in unknown.stderr
    empty = run("--data", str(tmp_path))
    assert empty.returncode == 2
    assert f"has no {data.STREAM}, no {data.NEAR}" in empty.stderr
