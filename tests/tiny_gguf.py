"""Writes a tiny model that llama.cpp can run: random weights, real files, no download.

It knows the GGUF format and nothing of llmctl. `python tests/tiny_gguf.py OUT.gguf` writes one to look at.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from numpy.typing import NDArray

CONTROL = ["<|user|>", "<|assistant|>", "<think>", "</think>"]
LETTERS = "▁etaoinshrdlucmfwypvbgkjqxz.,!?ETAOINSH0123456789\n"
UNKNOWN, BOS, EOS = 0, 1, 2
INTO_THE_SUM = ("attn_output.weight", "ffn_down.weight")
"""What a layer adds to a token comes through these."""

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def vocabulary() -> list[tuple[str, TokenType]]:
    """A SentencePiece vocabulary that covers every text: each byte is a token, and the commonest letters are too."""
    special = [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL)]
    in_bytes = [(f"<0x{byte:02X}>", TokenType.BYTE) for byte in range(256)]
    control = [(text, TokenType.CONTROL) for text in CONTROL]
    return special + in_bytes + control + [(letter, TokenType.NORMAL) for letter in LETTERS]


def write(
    path: Path,
    *,
    seed: int = 0,
    context: int = 512,
    chat_template: str | None = None,
    layers: int = 2,
    dim: int = 64,
    numbers: Mapping[str, float] | None = None,
    forgetful: bool = False,
    idle: int = 0,
    sharp: float = 1.0,
    texts: Mapping[int, str] | None = None,
    more: Sequence[str] = (),
    tags: Sequence[str] = (),
    unused: int = 0,
    vocabulary_type: str = "llama",
    causal: bool = True,
    split: int = 0,
) -> None:
    """Write a llama model with `layers` of width `dim` (a multiple of 32); `numbers` are further metadata.

    Only letters are likely to be sampled, so that the output can be printed; the same seed gives the same file.
    A `forgetful` model looks at the last token alone: so its greedy text soon runs in a circle. The last `idle` layers add
    nothing: the model thinks what one without them does, and takes longer. `sharp`: times as sure of what it says.
    `split`: tensors of a part, at most; the parts lie beside `path`, under numbered names.
    `texts` (token -> text), `more`, `tags` (of the kind USER_DEFINED) and so many `unused` ones make another vocabulary.
    """
    tokens = [((texts or {}).get(token, text), kind) for token, (text, kind) in enumerate(vocabulary())]
    tokens += [(text, TokenType.NORMAL) for text in more]
    tokens += [(text, TokenType.USER_DEFINED) for text in tags]
    tokens += [(f"[PAD{at}]", TokenType.UNUSED) for at in range(unused)]
    writer = GGUFWriter(path, "llama", split_max_tensors=split)
    writer.add_name("tiny")
    _describe(writer, context, layers, dim)
    if not causal:
        writer.add_causal_attention(False)
    if vocabulary_type == "gpt2":
        writer.add_token_merges(["e t"])
    words(writer, tokens, vocabulary_type)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for key, value in (numbers or {}).items():
        writer.add_float32(key, value)
    silent = tuple(f"blk.{layer}." for layer in range(0 if forgetful else layers - idle, layers))
    for name, tensor in _tensors(np.random.default_rng(seed), len(tokens), layers, dim).items():
        adds_nothing = name.startswith(silent) and name.endswith(INTO_THE_SUM)
        writer.add_tensor(name, tensor * (0 if adds_nothing else sharp if name == "output.weight" else 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def words(writer: GGUFWriter, tokens: list[tuple[str, TokenType]], kind: str = "llama") -> None:
    """What a file says of its vocabulary; `tokens`: text and kind of each."""
    writer.add_tokenizer_model(kind)
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(True)


def _describe(writer: GGUFWriter, context: int, layers: int, dim: int) -> None:
    writer.add_context_length(context)
    writer.add_embedding_length(dim)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * dim)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(dim // 2)
    writer.add_layer_norm_rms_eps(1e-5)


def _tensors(random: np.random.Generator, vocabulary: int, layers: int, dim: int) -> dict[str, NDArray[np.float32]]:
    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return random.normal(0, 2 / np.sqrt(columns), (rows, columns)).astype(np.float32)

    output = matrix(vocabulary, dim)
    output[: vocabulary - len(LETTERS)] *= 0.1
    tensors = {"token_embd.weight": matrix(vocabulary, dim), "output.weight": output}
    tensors["output_norm.weight"] = np.ones(dim, np.float32)
    for layer in range(layers):
        shapes = {
            "attn_q": (dim, dim),
            "attn_k": (dim // 2, dim),
            "attn_v": (dim // 2, dim),
            "attn_output": (dim, dim),
            "ffn_gate": (2 * dim, dim),
            "ffn_up": (2 * dim, dim),
            "ffn_down": (dim, 2 * dim),
        }
        for name, shape in shapes.items():
            tensors[f"blk.{layer}.{name}.weight"] = matrix(*shape)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(dim, np.float32)
    return tensors


if __name__ == "__main__":
    write(Path(sys.argv[1]), chat_template=CHAT_TEMPLATE)
