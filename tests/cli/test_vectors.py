"""Texts out of arguments, files and stdin; vectors into lines and numpy's format, which numpy itself reads."""

import json
import os
from array import array
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from llmctl import embedding, wire
from llmctl.cli.asking.embed import failure, lines
from llmctl.cli.asking.vectors import line, writer
from llmctl.cli.console import out
from llmctl.embedding import BYTES_AT_ONCE, TEXTS_AT_ONCE, Vector, batches, vectors_of
from llmctl.errors import ContextOverflow, Storage, Usage

NUMBERS = np.random.default_rng(5).normal(size=(3, 7)).astype("<f4")
BAD = ContextOverflow("the text has 300 tokens")


def vectors() -> list[Vector]:
    found = [Vector(index, array("f", row.tobytes())) for index, row in enumerate(NUMBERS)]
    found[1] = Vector(1, array("f", [float("nan")] * 7), BAD)
    return found


def test_only_newlines_separate_texts() -> None:
    assert lines("a\nb\r\nc d\u2028e\x0cf\n") == ["a", "b", "c d\u2028e\x0cf"]
    assert lines("a\n\nb") == ["a", "", "b"]
    assert lines("") == []
    assert lines("\n") == [""]


def test_texts_are_sent_in_order_and_in_small_requests() -> None:
    texts = [str(number) for number in range(3 * TEXTS_AT_ONCE + 1)]
    found = list(batches(texts))
    assert [text for batch in found for text in batch] == texts
    assert max(map(len, found)) == TEXTS_AT_ONCE <= wire.TEXTS
    large = ["a" * (BYTES_AT_ONCE // 2), "b" * BYTES_AT_ONCE, "c" * (2 * BYTES_AT_ONCE), "d"]
    assert [len(batch) for batch in batches(large)] == [1, 1, 1, 1]
    assert list(batches([])) == []


def test_a_reply_becomes_vectors_and_errors() -> None:
    flaw = wire.Flaw(1, "context_overflow", "too long", "shorten it")
    reply = wire.Embeddings(model="m", dimension=7, vectors=NUMBERS.tobytes(), tokens=9, flaws=[flaw])
    found = list(vectors_of(reply, 64))
    assert [vector.index for vector in found] == [64, 65, 66]
    assert found[2].values.tobytes() == NUMBERS[2].tobytes()
    assert isinstance(found[1].error, ContextOverflow)
    assert (found[1].error.message, found[1].error.hint) == ("too long", "shorten it")
    assert found[0].error is found[2].error is None


def test_a_json_line_identifies_every_float() -> None:
    read = [json.loads(line(vector)) for vector in vectors()]
    assert [each["index"] for each in read] == [0, 1, 2]
    assert np.array(read[2]["embedding"], np.float32).tobytes() == NUMBERS[2].tobytes()
    assert read[1] == {
        "index": 1,
        "embedding": None,
        "error": {"code": BAD.code, "message": BAD.message, "hint": BAD.hint},
    }


def test_numpy_reads_the_npy_file(tmp_path: Path) -> None:
    with writer(str(tmp_path / "x.npy"))(3) as put:
        for vector in vectors():
            put(vector)
        assert not (tmp_path / "x.npy").exists()
    found = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert (found.dtype, found.shape) == (np.float32, (3, 7))
    assert found[[0, 2]].tobytes() == NUMBERS[[0, 2]].tobytes()
    assert np.isnan(found[1]).all()
    assert [file.name for file in tmp_path.iterdir()] == ["x.npy"]


def test_an_output_file_is_complete_or_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("before")
    with suppress(KeyboardInterrupt), writer(str(path))(3) as put:
        put(vectors()[0])
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["x.jsonl"]
    with writer(str(path))(3) as put:
        put(vectors()[0])
    assert path.read_text() == line(vectors()[0])


@pytest.mark.parametrize("name", ["x.txt", "x", "no/where/x.npy"])
def test_an_invalid_output_name_is_refused_before_anything_is_computed(tmp_path: Path, name: str) -> None:
    with pytest.raises(Usage, match=name):
        writer(str(tmp_path / name))


def test_a_link_is_followed_and_a_device_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link.npy").symlink_to(tmp_path / "there.npy")
    with writer(str(tmp_path / "link.npy"))(3) as put:
        for vector in vectors():
            put(vector)
    assert (tmp_path / "link.npy").is_symlink()
    assert np.load(tmp_path / "there.npy").shape == (3, 7)
    assert "wrote 2 vectors to" in (told := capsys.readouterr().err)
    assert "1 text failed, with NaN or null instead" in told
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.npy").mkdir()
    for name in ("pipe.jsonl", "folder.npy"):
        with pytest.raises(Usage, match=name):
            writer(str(tmp_path / name))


def test_an_unwritable_folder_is_a_storage_error(tmp_path: Path) -> None:
    write = writer(str(tmp_path / "x.npy"))
    (tmp_path / "x.npy").mkdir()
    with pytest.raises(Storage, match=r"x\.npy"), write(1) as put:
        put(vectors()[0])


def test_the_error_names_the_first_bad_text_and_their_number() -> None:
    out.Mode.json = False
    assert failure(Vector(4, array("f"), ContextOverflow("too long")), 3, 10).message == (
        "text 4: too long; 3 of 10 texts have no vector"
    )
    assert failure(Vector(4, array("f"), ContextOverflow("too long")), 1, 10).message == "text 4: too long"
    assert failure(Vector(0, array("f"), ContextOverflow("too long")), 1, 1).message == "too long"
    assert embedding.REQUESTS_AT_ONCE > 1
