"""The proof decode before Ready, what each rung of the ladder changes, and the trials of single kernels."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import llama_cpp.llama_cpp as lib
import pytest
from llmctld.engine import prove
from llmctld.engine.llama.internals import ggml, kernels, repack, rungs
from llmctld.engine.llama.model import Gguf
from llmctld.engine.messages import Load

from tests import tiny_gguf
from tests.engine.driver import Driver

Q4_0 = 2


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in Q4_0, with matrices that can be repacked."""
    folder = tmp_path_factory.mktemp("models")
    tiny_gguf.write(folder / "float.gguf", dim=256)
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype = Q4_0
    path = folder / "q4_0.gguf"
    assert lib.llama_model_quantize(str(folder / "float.gguf").encode(), str(path).encode(), parameters) == 0
    return path


def load(path: Path, **options: object) -> Load:
    given = {
        "name": "m",
        "backend": "llama.cpp",
        "path": str(path),
        "threads": 1,
        "memory_bytes": 2**30,
        "context": 256,
    }
    return rungs.with_rung(Load(**{**given, "slots": 2, **options}))  # type: ignore[arg-type]


def test_proof_leaves_no_tokens_in_the_kv_cache(quantised: Path) -> None:
    model = Gguf(load(quantised))
    prove.text("m", model, 255)
    assert all(model.holds(stream, 0) for stream in range(model.streams))
    assert Driver(model).ask("hello").done.cached_tokens == 0


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, [1, 1, 2]),
        ({"slots": 1, "retained": 0, "speculation": "ngram"}, [1, 1, 2]),
        ({"slots": 1, "retained": 0, "speculation": "off"}, [1, 1]),  # no request ever needs two rows
        ({"context": 4}, [1, 1, 2]),
        ({"context": 3}, [1, 1]),
    ],
)
def test_proof_computes_the_logit_rows_of_two_concurrent_requests(
    quantised: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], asked: list[int]
) -> None:
    """The output matrix may be the only one whose kernel crashes, and a single row uses another kernel."""
    model = Gguf(load(quantised, **options))
    rows: list[int] = []
    decode = model._decode

    def counted() -> int:
        rows.append(int(model._batch._output[: model._batch.struct.n_tokens].sum()))
        return decode()

    monkeypatch.setattr(model, "_decode", counted)
    prove.text("m", model, model.loaded.context - 1)
    assert rows == asked


def test_nan_logits_fail_the_proof_but_one_damaged_token_does_not(tmp_path: Path) -> None:
    for name, damaged in (("token", "z"), ("all", None)):
        path = tmp_path / f"{name}.gguf"
        tiny_gguf.write(path)
        _poison(path, damaged)
        model = Gguf(load(path))
        if damaged:
            prove.text("m", model, 255)
        else:
            with pytest.raises(prove.Unproven, match="invalid numbers"):
                prove.text("m", model, 255)


def test_draft_model_is_proven_too_and_may_have_nan_logits(tmp_path: Path) -> None:
    for name in ("model", "draft"):
        tiny_gguf.write(tmp_path / f"{name}.gguf")
    _poison(tmp_path / "draft.gguf", None)
    model = Gguf(load(tmp_path / "model.gguf", draft=str(tmp_path / "draft.gguf"), speculation="ngram"))
    assert model.second is not None
    prove.draft(model.second, 255)
    assert model.second.holds(0, 0)
    assert model.draft_model is not None
    model.draft_model.check()


def _poison(path: Path, token: str | None) -> None:
    """Puts a NaN into one token's embedding, or into a tensor that every token passes through."""
    from gguf import GGUFReader

    content = bytearray(path.read_bytes())
    wanted = "token_embd.weight" if token else "output_norm.weight"
    tensor = next(tensor for tensor in GGUFReader(path).tensors if tensor.name == wanted)
    row = [text for text, _ in tiny_gguf.vocabulary()].index(token) if token else 0
    at = int(tensor.data_offset) + row * 64 * 4
    content[at : at + 4] = b"\x00\x00\xc0\x7f"
    path.write_bytes(content)


def test_second_rung_repacks_like_the_first_and_third_repacks_nothing(quantised: Path) -> None:
    models = {rung.name: Gguf(load(quantised, rung=rung.name)) for rung in rungs.LADDER}
    texts = {name: Driver(model).ask("hello", max_tokens=8).text for name, model in models.items()}
    assert len(set(texts.values())) == 1, texts
    repacked = {name: model._log.weights.get(repack.REPACK, 0) for name, model in models.items()}
    if repack.REPACK in ggml.extra_buffers() and "AMX" not in ggml.extra_buffers():
        assert repacked["no AMX"] == repacked["as it is"] > 0
    assert repacked["no extra buffers"] == repacked["no flash attention"] == 0


def test_tensor_patterns_match_only_the_given_tensors() -> None:
    names = ["blk.0.attn_q.weight", "blk.10.attn_q.weight", "blk.1.ffn_down.weight", "output.weight"]
    patterns = repack.grouped([*names, "token_embd.weight", "blk.2.attn_norm.bias"])
    matched = [
        name
        for name in (*names, "blk.1.attn_q.weight", "blk.0.ffn_down.weight", "token_embd.weight", "output_norm.weight")
        if any(re.search(pattern, name) for pattern in patterns)
    ]
    assert matched == names


def test_quantised_kv_cache_is_disabled_without_flash_attention() -> None:
    changed = load(Path("x"), rung="no flash attention", kv_type="q8_0")
    assert (changed.flash_attention, changed.kv_type) == (False, "f16")
    assert load(Path("x"), rung="no AMX", kv_type="q8_0").kv_type == "q8_0"


def test_kernel_results_are_close_to_numpy() -> None:
    tried = {trial.name: kernels.relative_error(trial, 33) for trial in kernels.trials()}
    assert len(tried) >= len(kernels.TYPES)
    assert all(share < kernels.ROUGH for share in tried.values()), json.dumps(tried)
    assert tried["plain F16"] < 0.01 < tried["plain Q2_K"]


def test_library_abort_message_is_in_the_log() -> None:
    script = (
        "from llmctld.engine.llama.internals import abort\nimport ctypes, llama_cpp.llama_cpp as lib\nabort.listen()\n"
        "lib._lib.ggml_abort(b'x.cpp', ctypes.c_int(1), b'%s', b'GGML_ASSERT(rows == 2) failed')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGABRT
    assert done.stderr.startswith("llama.cpp aborts:")
    assert "GGML_ASSERT(rows == 2) failed" in done.stderr
