"""Files that should be small: what is no regular file or too large is refused without waiting and without reading on."""

import os
from pathlib import Path

import pytest

from llmctl.regular import read_json, read_python_json, read_regular


def test_content(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    assert read_regular(file) == b"abc"
    assert read_regular(file, 3) == b"abc"
    assert read_regular(Path("/proc/self/status")).startswith(b"Name:")


def test_what_is_no_small_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    cases = {
        tmp_path / "pipe": "not a regular file",
        tmp_path: "not a regular file",
        Path("/dev/zero"): "not a regular file",
        tmp_path / "sparse": "1099511627776 bytes, more than 16777216",
    }
    for path, words in cases.items():
        with pytest.raises(OSError, match=words):
            read_regular(path)
    with pytest.raises(OSError, match="it has more than 3 bytes"):
        read_regular(Path("/proc/self/status"), 3)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"a": "\xff"}', b"[" * 100_000, b'{"a": 1e999}'])
def test_json_of_another_kind_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_json(file, dict[str, int])


def test_json_as_python_writes_it_has_infinite_numbers(tmp_path: Path) -> None:
    """The configuration of a Mamba-2 names `time_step_limit: [0.0, Infinity]`."""
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "mamba2", "time_step_limit": [0.0, Infinity], "other": NaN}')
    assert read_python_json(file, dict[str, object])["time_step_limit"] == [0.0, float("inf")]
    with pytest.raises(ValueError, match="malformed"):
        read_json(file, dict[str, object])
    for text in ("{", "[" * 100_000, '{"a": 1}', "\xff"):
        file.write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match=r"."):
            read_python_json(file, list[int])
