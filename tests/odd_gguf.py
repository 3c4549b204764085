"""Tiny models whose memory is unlike a plain transformer's: recurrent, with a sliding window, and one that is broken.

It writes files and knows nothing of llmctl; the vocabulary is that of tiny_gguf.
"""

from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFWriter
from numpy.typing import NDArray

from tests.tiny_gguf import LETTERS, vocabulary, words, write

Tensors = dict[str, NDArray[np.float32]]
DIM, LAYERS, CONTEXT = 64, 2, 512
INNER, STATE, CONV, RANK = 2 * DIM, 8, 4, 4
WINDOW = 32


def recurrent(path: Path) -> None:
    """Mamba: a state of fixed size instead of KV cells, so that nothing can be cut off."""
    writer = _begin(path, "mamba")
    writer.add_head_count(0)
    writer.add_feed_forward_length(0)
    writer.add_ssm_conv_kernel(CONV)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    dice = np.random.default_rng(1)
    tensors = _ends(dice)
    for layer in range(LAYERS):
        tensors |= {
            f"blk.{layer}.attn_norm.weight": np.ones(DIM, np.float32),
            f"blk.{layer}.ssm_in.weight": _matrix(dice, 2 * INNER, DIM),
            f"blk.{layer}.ssm_conv1d.weight": _matrix(dice, INNER, CONV),
            f"blk.{layer}.ssm_conv1d.bias": np.zeros(INNER, np.float32),
            f"blk.{layer}.ssm_x.weight": _matrix(dice, RANK + 2 * STATE, INNER),
            f"blk.{layer}.ssm_dt.weight": _matrix(dice, INNER, RANK),
            f"blk.{layer}.ssm_dt.bias": np.zeros(INNER, np.float32),
            f"blk.{layer}.ssm_a": -np.tile(np.arange(1, STATE + 1, dtype=np.float32), (INNER, 1)),
            f"blk.{layer}.ssm_d": np.ones(INNER, np.float32),
            f"blk.{layer}.ssm_out.weight": _matrix(dice, DIM, INNER),
        }
    _end(writer, tensors)


def sliding(path: Path, context: int = CONTEXT, window: int = WINDOW) -> None:
    """Gemma 2: every second layer looks back `window` tokens only."""
    writer = _begin(path, "gemma2", context)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(DIM // 2)
    writer.add_value_length(DIM // 2)
    writer.add_feed_forward_length(2 * DIM)
    writer.add_sliding_window(window)
    writer.add_attn_logit_softcapping(50.0)
    writer.add_final_logit_softcapping(30.0)
    dice = np.random.default_rng(2)
    tensors = _ends(dice)
    tensors["token_embd.weight"] = tensors.pop("output.weight")  # one matrix for both
    shapes = {
        "attn_q": (DIM, DIM), "attn_k": (DIM // 2, DIM), "attn_v": (DIM // 2, DIM), "attn_output": (DIM, DIM),
        "ffn_gate": (2 * DIM, DIM), "ffn_up": (2 * DIM, DIM), "ffn_down": (DIM, 2 * DIM),
    }  # fmt: skip
    for layer in range(LAYERS):
        tensors |= {f"blk.{layer}.{name}.weight": _matrix(dice, *shape) for name, shape in shapes.items()}
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(DIM, np.float32)
    _end(writer, tensors)


def poisoned(path: Path) -> None:
    """A model of tiny_gguf that has no number (NaN) where it looks up the letter z."""
    write(path)
    tensor = next(tensor for tensor in GGUFReader(path).tensors if tensor.name == "token_embd.weight")
    row = int(tensor.data_offset) + [text for text, _ in vocabulary()].index("z") * DIM * 4
    content = bytearray(path.read_bytes())
    content[row : row + 4] = b"\x00\x00\xc0\x7f"
    path.write_bytes(content)


def lora(path: Path, seed: int = 0, rank: int = 4, layers: int = 2, dim: int = 64) -> None:
    """An adapter for a model of tiny_gguf, strong enough to change what it says."""
    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    dice = np.random.default_rng(seed + 100)
    for layer in range(layers):
        writer.add_tensor(f"blk.{layer}.attn_output.weight.lora_a", _matrix(dice, rank, dim))
        writer.add_tensor(f"blk.{layer}.attn_output.weight.lora_b", _matrix(dice, dim, rank) * 2)
    _close(writer)


def _begin(path: Path, architecture: str, context: int = CONTEXT) -> GGUFWriter:
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(context)
    writer.add_embedding_length(DIM)
    writer.add_block_count(LAYERS)
    writer.add_layer_norm_rms_eps(1e-5)
    words(writer, vocabulary())
    return writer


def _ends(dice: np.random.Generator) -> Tensors:
    count = len(vocabulary())
    output = _matrix(dice, count, DIM)
    output[: count - len(LETTERS)] *= 0.1
    return {
        "token_embd.weight": _matrix(dice, count, DIM), "output.weight": output,
        "output_norm.weight": np.ones(DIM, np.float32),
    }  # fmt: skip


def _matrix(dice: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    return dice.normal(0, 2 / np.sqrt(columns), (rows, columns)).astype(np.float32)


def _end(writer: GGUFWriter, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    _close(writer)


def _close(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
