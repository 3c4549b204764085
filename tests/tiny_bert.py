"""Writes a tiny embedding model as a sentence-transformers folder: random weights, real files, no download.

It knows the files of such a folder and nothing of llmctl; engine/embed/convert.py makes a GGUF file of it.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCE = "the cat dog river bridge old new is was runs sleeps query document not hello world nan"
WORDS = SENTENCE.split(" ")
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
VOCABULARY = [*SPECIAL, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *".,:!?0123456789"]
LAYERS, HIDDEN, INNER, HEADS, POSITIONS = 2, 64, 128, 2, 64
NAN = "nan"
"""A word whose own vector is no number, in a model that is `broken`."""


def write(
    folder: Path,
    *,
    seed: int = 0,
    pooling: str = "mean_tokens",
    normalize: bool = True,
    longest: int = 32,
    prompts: Mapping[str, str] | None = None,
    broken: bool = False,
) -> Path:
    """Write a BERT with `longest` tokens of one text; `pooling` is a mode of the library's. Returns the folder."""
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "2_Normalize").mkdir()
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    _json(folder / "modules.json", [
        {"idx": index, "name": str(index), "path": paths[index], "type": f"sentence_transformers.models.{kind}"}
        for index, kind in enumerate(kinds)
    ])  # fmt: skip
    _json(folder / "config.json", {
        "model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu", "hidden_size": HIDDEN,
        "intermediate_size": INNER, "layer_norm_eps": 1e-12, "max_position_embeddings": POSITIONS,
        "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "type_vocab_size": 2, "vocab_size": len(VOCABULARY),
        "pad_token_id": 0, "position_embedding_type": "absolute",
    })  # fmt: skip
    modes = {
        f"pooling_mode_{mode}": mode == pooling for mode in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
    }
    _json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": HIDDEN, **modes})
    _json(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    if prompts is not None:
        _json(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})
    _json(folder / "tokenizer_config.json", {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": POSITIONS, "unk_token": "[UNK]",
        "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]",
    })  # fmt: skip
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    tensors = _tensors(np.random.default_rng(seed))
    if broken:
        tensors["embeddings.word_embeddings.weight"][VOCABULARY.index(NAN)] = np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _tensors(dice: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return dice.normal(0, 1 / np.sqrt(columns), (rows, columns)).astype(np.float32)

    def norm(name: str) -> dict[str, NDArray[np.float32]]:
        return {f"{name}.weight": np.ones(HIDDEN, np.float32), f"{name}.bias": np.zeros(HIDDEN, np.float32)}

    tensors = {
        "embeddings.word_embeddings.weight": matrix(len(VOCABULARY), HIDDEN),
        "embeddings.position_embeddings.weight": matrix(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": matrix(2, HIDDEN),
        **norm("embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        shapes = {
            "attention.self.query": (HIDDEN, HIDDEN), "attention.self.key": (HIDDEN, HIDDEN),
            "attention.self.value": (HIDDEN, HIDDEN), "attention.output.dense": (HIDDEN, HIDDEN),
            "intermediate.dense": (INNER, HIDDEN), "output.dense": (HIDDEN, INNER),
        }  # fmt: skip
        for name, (rows, columns) in shapes.items():
            tensors[f"encoder.layer.{layer}.{name}.weight"] = matrix(rows, columns)
            tensors[f"encoder.layer.{layer}.{name}.bias"] = matrix(1, rows)[0]
        tensors |= norm(f"encoder.layer.{layer}.attention.output.LayerNorm")
        tensors |= norm(f"encoder.layer.{layer}.output.LayerNorm")
    return tensors
