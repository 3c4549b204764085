"""A GGUF file's header: its values are read, and a damaged one raises DamagedHeader and nothing worse."""

import struct
from pathlib import Path

import pytest
from gguf import GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmctld.models.catalogue.header import DamagedHeader, read_header, read_whole_header
from llmctld.models.catalogue.target import type_of

from llmctl.errors import ModelUnavailable
from tests import odd_gguf, tiny_bert, tiny_gguf


def test_scalars_are_read_and_arrays_skipped(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "x.gguf", "bert")
    writer.add_uint32("a.u32", 7)
    writer.add_int8("a.i8", -7)
    writer.add_uint64("a.u64", 2**63)
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_array("a.words", ["one", "two" * 1000, "ü"])
    writer.add_array("a.numbers", [1.5, 2.5])
    writer.add_string("a.text", "grün")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = read_header(tmp_path / "x.gguf")
    assert found.pop("general.architecture") == "bert"
    assert found == {"a.u32": 7, "a.i8": -7, "a.u64": 2**63, "a.f64": 0.1, "a.bool": True, "a.text": "grün"}


def test_model_type_is_read_from_the_file(tmp_path: Path) -> None:
    from llmctld.engine.embed.convert import convert

    tiny_gguf.write(tmp_path / "text.gguf")
    odd_gguf.recurrent(tmp_path / "mamba.gguf")
    folder = tiny_bert.write(tmp_path / "bert")
    convert(folder, tmp_path / "bert.gguf")
    assert type_of(str(tmp_path / "text.gguf")) == ("llama.cpp", "text")
    assert type_of(str(tmp_path / "mamba.gguf")) == ("llama.cpp", "text")
    assert type_of(str(tmp_path / "bert.gguf")) == ("llama.cpp", "embedding")
    assert type_of(str(folder)) == ("sentence-transformers", "embedding")
    assert type_of("echo") == ("echo", "text")
    with pytest.raises(ModelUnavailable, match=r"without modules\.json"):
        type_of(str(tmp_path))


def test_decoder_with_pooling_is_an_embedding_model_and_rerankers_are_refused(tmp_path: Path) -> None:
    for pooling in (0, 3, 4):
        writer = GGUFWriter(tmp_path / f"{pooling}.gguf", "qwen3")
        writer.add_uint32("qwen3.pooling_type", pooling)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
    assert type_of(str(tmp_path / "0.gguf")).kind == "text"
    assert type_of(str(tmp_path / "3.gguf")).kind == "embedding"
    with pytest.raises(ModelUnavailable, match="is a reranker"):
        type_of(str(tmp_path / "4.gguf"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damaged_header_raises_damaged_header_and_never_hangs(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "x.gguf"
    if not path.exists():
        tiny_gguf.write(path)
    whole = bytearray(path.read_bytes()[:6000])
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        read_header(broken)
    except DamagedHeader:
        return


def test_unreasonable_header_numbers_count_as_damage(tmp_path: Path) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    key = struct.pack("<Q", 1) + b"k"
    for name, rest in {
        "version": b"",
        "string": struct.pack("<IQ", 8, 2**60),
        "array": struct.pack("<IIQ", 9, 4, 2**60),
        "nested": struct.pack("<IIQ", 9, 9, 1),
        "type": struct.pack("<I", 77),
    }.items():
        path = tmp_path / name
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 99, 0, 1) if name == "version" else head + key + rest)
        with pytest.raises(DamagedHeader):
            read_header(path)


@pytest.mark.parametrize(
    ("tensors", "keys", "words"),
    [(0, 2**63, "claims 9223372036854775808 keys"), (2**40, 0, "claims 1099511627776 tensors")],
)
def test_counts_are_not_believed(tmp_path: Path, tensors: int, keys: int, words: str) -> None:
    """Zeros are empty keys and tensors: reading on would keep the hub busy for minutes."""
    path = tmp_path / "zeros.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys))
        file.truncate(2**40)
    with pytest.raises(DamagedHeader, match=words):
        read_whole_header(path)


def test_empty_tokens_without_end_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "tokens.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQQsIIQ", 3, 0, 1, 1, b"k", 9, 8, 2**27))
        file.truncate(2**40)
    with pytest.raises(DamagedHeader, match="an array of 134217728 texts"):
        read_header(path)


@pytest.mark.parametrize("alignment", ["x", 0, -32, 1.5])
def test_an_alignment_that_is_none_is_damage(tmp_path: Path, alignment: object) -> None:
    path = tmp_path / "x.gguf"
    writer = GGUFWriter(path, "llama")
    kinds = {str: writer.add_string, int: writer.add_int32, float: writer.add_float32}
    kinds[type(alignment)]("general.alignment", alignment)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(DamagedHeader, match="its alignment is"):
        read_whole_header(path)


def test_a_tensor_larger_than_any_file_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    tensor = struct.pack("<Q1sIQQQQIQ", 1, b"t", 4, *([2**63] * 4), 0, 0)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor)
    with pytest.raises(DamagedHeader, match="the tensor 't' ends at byte"):
        read_whole_header(path)
