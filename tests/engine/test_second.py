"""A draft model that does not match its model is refused with an error that names both files."""

from pathlib import Path

import msgspec
import pytest
from llmctld.engine.errors import LoadError
from llmctld.engine.llama.model import Gguf
from llmctld.engine.messages import Load

from tests import odd_gguf
from tests.engine.driver import Driver, llama
from tests.tiny_gguf import write


def load(tmp_path: Path, **options: object) -> Load:
    """big.gguf with the draft small.gguf."""
    if not (tmp_path / "big.gguf").exists():
        write(tmp_path / "big.gguf")
    wanted = llama(tmp_path / "big.gguf", speculation="ngram", draft=str(tmp_path / "small.gguf"))
    return msgspec.structs.replace(wanted, **options)


def refused(load: Load) -> str:
    with pytest.raises(LoadError) as error:
        Gguf(load)
    assert load.path in error.value.message
    assert load.draft in error.value.message
    assert "`draft`" in error.value.hint
    return error.value.message


def test_missing_draft_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(load(tmp_path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no model", b"GGUF\x03\0\0\0" + b"\xff" * 999])
def test_invalid_draft_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "small.gguf").write_bytes(content)
    assert any(words in refused(load(tmp_path)) for words in ("not a GGUF file", "cannot load"))


def test_truncated_draft_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "small.gguf")
    (tmp_path / "small.gguf").write_bytes((tmp_path / "small.gguf").read_bytes()[:-1000])
    assert "file bounds" in refused(load(tmp_path))


def test_draft_model_that_generates_no_text_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "small.gguf", causal=False)
    assert "does not generate text" in refused(load(tmp_path))


def test_draft_larger_than_the_memory_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "big.gguf")
    write(tmp_path / "small.gguf", layers=8)
    size = (tmp_path / "big.gguf").stat().st_size
    assert "the draft does not fit in memory: the file has" in refused(load(tmp_path, memory_bytes=size + 1000))


def test_draft_with_a_different_token_text_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "small.gguf", texts={270: "Q", 280: "Z"})
    assert "token 270 is 'Q', not 's'" in refused(load(tmp_path))


def test_draft_with_a_different_vocabulary_size_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "small.gguf", more=["one", "two"])
    assert "has 315 tokens, not 313" in refused(load(tmp_path))


def test_unused_vocabulary_entries_are_ignored(tmp_path: Path) -> None:
    write(tmp_path / "small.gguf", unused=7)
    model = Gguf(load(tmp_path))
    assert model.draft_model is not None
    assert Driver(model).ask("why?").done.completion_tokens


def test_draft_with_another_vocabulary_type_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "small.gguf", vocabulary_type="gpt2")
    assert "its vocabulary differs: its type is" in refused(load(tmp_path))


@pytest.mark.parametrize("which", ["small", "big"])
def test_recurrent_model_disables_drafts_with_a_notice(tmp_path: Path, which: str) -> None:
    odd_gguf.recurrent(tmp_path / f"{which}.gguf")
    write(tmp_path / f"{'big' if which == 'small' else 'small'}.gguf")
    model = Gguf(load(tmp_path))
    assert model.draft_model is None
    (notice,) = model.loaded.notices
    assert f"no drafts, because {tmp_path / which}.gguf has a recurrent state" in notice
    alone = Gguf(msgspec.structs.replace(load(tmp_path), draft=""))
    assert model.loaded.memory_bytes == alone.loaded.memory_bytes
    assert Driver(model).ask("why?").text == Driver(alone).ask("why?").text
