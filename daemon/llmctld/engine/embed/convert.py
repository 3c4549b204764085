"""Converts a BERT-like sentence-transformers folder to a GGUF file for llama.cpp: `python -m llmctld.engine.embed.convert`.

Runs once per model in a child of the hub, which loads no numpy.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gguf import (
    MODEL_ARCH,
    GGUFWriter,
    LlamaFileType,
    PoolingType,
    TokenType,
    get_tensor_name_map,
)
from numpy.typing import NDArray
from safetensors.numpy import load_file

from llmctld.engine.lifeline import die_with_hub

WEIGHTS = "model.safetensors"
LEFT_OUT = ("pooler.", "embeddings.position_ids")
"""Tensors that sentence embeddings do not use."""
EXACT = ("token_types.weight", "position_embd.weight")
"""Small tables that llama.cpp reads as float32."""
POOLINGS = {
    "pooling_mode_mean_tokens": PoolingType.MEAN,
    "pooling_mode_cls_token": PoolingType.CLS,
    "pooling_mode_lasttoken": PoolingType.LAST,
}


class UnexpectedFolder(Exception):
    """The folder does not contain what was expected."""


def main() -> int:
    die_with_hub()
    parser = argparse.ArgumentParser(prog="python -m llmctld.engine.embed.convert")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sha256", help=f"what {WEIGHTS} must have")
    options = parser.parse_args()
    try:
        convert(options.folder, options.out, options.sha256)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return error.errno or 1  # as the status, so that the hub need not read the words
    except (UnexpectedFolder, KeyError, ValueError) as error:
        sys.stderr.write(f"{error if isinstance(error, UnexpectedFolder) else repr(error)}\n")
        return 1
    return 0


def convert(folder: Path, out: Path, sha256: str | None = None) -> None:
    """Write `out` completely or not at all. Raises UnexpectedFolder: wrong hash, or no BERT with a pooling that GGUF supports."""
    if sha256 is not None and (found := _sha256(folder / WEIGHTS)) != sha256:
        raise UnexpectedFolder(f"{folder / WEIGHTS} has the SHA-256 {found}, not {sha256}")
    config = json.loads((folder / "config.json").read_bytes())
    if config["model_type"] != "bert":
        raise UnexpectedFolder(f"{folder} contains a model of the type {config['model_type']!r}, not 'bert'")
    temporary = out.with_suffix(f".{os.getpid()}.tmp")
    writer = GGUFWriter(temporary, "bert")
    try:
        _describe(writer, config, _pooling(folder))
        _write_vocabulary(writer, (folder / "vocab.txt").read_text(encoding="utf-8").splitlines(), config)
        for name, tensor in _tensors(load_file(folder / WEIGHTS), config["num_hidden_layers"]):
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _pooling(folder: Path) -> PoolingType:
    modes = json.loads((folder / "1_Pooling" / "config.json").read_bytes())
    chosen = [kind for mode, kind in POOLINGS.items() if modes.get(mode)]
    if len(chosen) != 1 or sum(bool(value) for mode, value in modes.items() if mode.startswith("pooling_mode")) != 1:
        raise UnexpectedFolder(f"{folder} uses a pooling that a GGUF file cannot describe: {modes}")
    return chosen[0]


def _describe(writer: GGUFWriter, config: dict[str, Any], pooling: PoolingType) -> None:
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)


def _write_vocabulary(writer: GGUFWriter, words: list[str], config: dict[str, Any]) -> None:
    """llama.cpp's WordPiece marks the pieces that start a word, instead of those that continue one."""
    control = [word.startswith("[") and word.endswith("]") and len(word) > 2 for word in words]
    kinds = [TokenType.CONTROL if special else TokenType.NORMAL for special in control]
    writer.add_token_type_count(config["type_vocab_size"])
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([_marked(word, special) for word, special in zip(words, control, strict=True)])
    writer.add_token_types(kinds)
    for add, word in (
        (writer.add_unk_token_id, "[UNK]"), (writer.add_sep_token_id, "[SEP]"), (writer.add_pad_token_id, "[PAD]"),
        (writer.add_bos_token_id, "[CLS]"), (writer.add_mask_token_id, "[MASK]"),
    ):  # fmt: skip
        add(words.index(word))


def _marked(word: str, special: bool) -> str:
    return word if special else word[2:] if word.startswith("##") else "▁" + word


def _tensors(found: dict[str, NDArray[Any]], layers: int) -> list[tuple[str, NDArray[Any]]]:
    """Matrices as float16, others unchanged. Raises UnexpectedFolder for a tensor that llama.cpp does not know."""
    names = get_tensor_name_map(MODEL_ARCH.BERT, layers)
    tensors = []
    for given, tensor in found.items():
        plain = given.removeprefix("bert.")
        if plain.startswith(LEFT_OUT):
            continue
        name = names.get_name(plain, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise UnexpectedFolder(f"the tensor {given} has no place in a GGUF file of this kind")
        half = tensor.ndim == 2 and name not in EXACT
        tensors.append((name, np.asarray(tensor, np.float16 if half else np.float32)))
    return tensors


if __name__ == "__main__":
    sys.exit(main())
