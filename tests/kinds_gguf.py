"""Tiny random models of the architectures that people run; quantised.py makes of them the files that people have.

It writes files and knows nothing of llmctl. The vocabulary of those that write text is that of tiny_gguf, with unused tokens; an
embedding model's is that of tiny_bert. All rows have multiples of 256 numbers, as K-quants want them, and all matrices multiples
of 32 rows, as special kernels do.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, PoolingType, TokenType
from numpy.typing import NDArray

from tests import tiny_bert, tiny_gguf
from tests.tiny_gguf import BOS, LETTERS, words

Tensors = dict[str, NDArray[np.float32]]
Shapes = dict[str, tuple[int, ...]]

DIM, LAYERS, CONTEXT = 256, 2, 512
HEADS, KEY_HEADS, WIDTH = 4, 2, 64
INNER, EXPERT_INNER, EXPERTS, EXPERTS_USED = 512, 256, 4, 2
STATE, CONV, RANK = 16, 4, 32
WINDOW = 32
POSITIONS = 64
LITTLE = 0.1
"""What tokens that are no letter say, so that the output can be printed."""


def write(path: Path, architecture: str, seed: int = 0) -> Path:
    """A model of one of ARCHITECTURES, in float32; the same seed gives the same file."""
    writer = GGUFWriter(path, architecture.partition("+")[0])
    dice = np.random.default_rng(seed)
    tensors = ARCHITECTURES[architecture](writer, dice)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# ---- parts ------------------------------------------------------------------------------------------------------------


USED = len(tiny_gguf.vocabulary())
UNUSED = [(f"[PAD{at}]", TokenType.UNUSED) for at in range(-USED % 32)]


def vocabulary() -> list[tuple[str, TokenType]]:
    """The letters last."""
    tokens = tiny_gguf.vocabulary()
    return [*tokens[: -len(LETTERS)], *UNUSED, *tokens[-len(LETTERS) :]]


def _begin(writer: GGUFWriter) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(DIM)
    writer.add_block_count(LAYERS)
    writer.add_layer_norm_rms_eps(1e-5)


def _heads(writer: GGUFWriter, key_heads: int | list[int] = KEY_HEADS) -> None:
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(key_heads)
    writer.add_key_length(WIDTH)
    writer.add_value_length(WIDTH)
    writer.add_rope_dimension_count(WIDTH)


def _matrix(dice: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return dice.normal(0, 2 / np.sqrt(shape[-1]), shape).astype(np.float32)


def _ends(dice: np.random.Generator, factor: float = 1.0) -> Tensors:
    """`factor`: what the architecture itself multiplies a token's vector by."""
    embedding, output = _matrix(dice, USED, DIM), _matrix(dice, USED, DIM)
    embedding *= np.sqrt(DIM) / factor
    embedding[BOS] = embedding[-1]
    output[: -len(LETTERS)] *= LITTLE
    embedding, output = (np.insert(rows, [-len(LETTERS)] * len(UNUSED), 0, axis=0) for rows in (embedding, output))
    return {"token_embd.weight": embedding, "output.weight": output, "output_norm.weight": np.ones(DIM, np.float32)}


def _decided(tensors: Tensors) -> Tensors:
    """Let attention decide what is said, and clearly: so no rounding does.

    A head looks at few tokens, or one; what it brings from there stands for one letter. The first head outweighs the others
    together, and what feeds forward is heard beside them, but seldom decides.
    """
    last = LAYERS - 1
    for layer in range(LAYERS):
        for name, factor in SHARP.items():
            for matrix in [each for each in tensors if each.startswith(f"blk.{layer}.{name}.")]:
                tensors[matrix] *= factor
        if (name := f"blk.{layer}.attn_output.weight") in tensors:
            tensors[name] *= np.repeat(HEAD_STRENGTHS, WIDTH) if layer == last else 0.25
    value = tensors[f"blk.{last}.attn_v.weight"].reshape(-1, WIDTH, DIM)
    value = value.repeat(HEADS // len(value), 0)
    brought = tensors["token_embd.weight"][-len(LETTERS) :] @ value.reshape(HEADS * WIDTH, DIM).T
    letters = brought @ tensors[f"blk.{last}.attn_output.weight"].T
    letters /= np.linalg.norm(letters, axis=1, keepdims=True) / 2
    tensors["output.weight"][-len(LETTERS) :] = np.roll(letters, 7, axis=0)
    return tensors


HEAD_STRENGTHS = np.array([4.0, 2.0, 1.5, 1.0], np.float32)
SHARP = {
    "attn_q": 1.5, "attn_k": 1.5, "attn_q_norm": 3.0, "attn_k_norm": 3.0, "ffn_down": 0.1, "ffn_down_exps": 0.03,
}  # fmt: skip


ATTENTION: Shapes = {
    "attn_q": (DIM, DIM), "attn_k": (KEY_HEADS * WIDTH, DIM), "attn_v": (KEY_HEADS * WIDTH, DIM), "attn_output": (DIM, DIM),
}  # fmt: skip
FEED: Shapes = {"ffn_gate": (INNER, DIM), "ffn_up": (INNER, DIM), "ffn_down": (DIM, INNER)}
EXPERT_FEED: Shapes = {
    "ffn_gate_exps": (EXPERTS, EXPERT_INNER, DIM), "ffn_up_exps": (EXPERTS, EXPERT_INNER, DIM),
    "ffn_down_exps": (EXPERTS, DIM, EXPERT_INNER),
}  # fmt: skip
NORMS = {"attn_norm": DIM, "ffn_norm": DIM}
KEY_NORMS = {"attn_q_norm": WIDTH, "attn_k_norm": WIDTH}


def _layers(dice: np.random.Generator, matrices: Shapes, ones: dict[str, int], biases: Shapes | None = None) -> Tensors:
    tensors = {}
    for layer in range(LAYERS):
        for name, shape in matrices.items():
            tensors[f"blk.{layer}.{name}.weight"] = _matrix(dice, *shape)
        for name, size in ones.items():
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(size, np.float32)
        for name, shape in (biases or {}).items():
            tensors[f"blk.{layer}.{name}.bias"] = dice.normal(0, 0.3, shape).astype(np.float32)
    return tensors


def _gates(dice: np.random.Generator) -> Tensors:
    """Which experts take a token. Each layer's likes its experts differently well, so that no two are about as good."""
    return {f"blk.{layer}.ffn_gate_inp.weight": _matrix(dice, EXPERTS, DIM) for layer in range(LAYERS)}


def _experts(writer: GGUFWriter) -> None:
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(EXPERTS_USED)
    writer.add_expert_feed_forward_length(EXPERT_INNER)


# ---- architectures ----------------------------------------------------------------------------------------------------


def _plain(writer: GGUFWriter) -> None:
    _begin(writer)
    words(writer, vocabulary())
    _heads(writer)
    writer.add_feed_forward_length(INNER)


def _llama(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    _plain(writer)
    return _decided(_ends(dice) | _layers(dice, ATTENTION | FEED, NORMS))


def _mixtral(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """llama with experts: what MXFP4_MOE is for."""
    _begin(writer)
    words(writer, vocabulary())
    _heads(writer)
    writer.add_feed_forward_length(EXPERT_INNER)
    _experts(writer)
    return _decided(_ends(dice) | _layers(dice, ATTENTION | EXPERT_FEED, NORMS) | _gates(dice))


def _qwen2(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """Biases at Q, K and V."""
    _plain(writer)
    biases: Shapes = {name: ATTENTION[name][:1] for name in ("attn_q", "attn_k", "attn_v")}
    return _decided(_ends(dice) | _layers(dice, ATTENTION | FEED, NORMS, biases))


def _qwen3(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """Each head's Q and K normed."""
    _plain(writer)
    return _decided(_ends(dice) | _layers(dice, ATTENTION | FEED, NORMS | KEY_NORMS))


def _qwen3moe(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    _plain(writer)
    _experts(writer)
    return _decided(_ends(dice) | _layers(dice, ATTENTION | EXPERT_FEED, NORMS | KEY_NORMS) | _gates(dice))


def _gemma3(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """Every second layer looks back WINDOW tokens only."""
    _plain(writer)
    writer.add_sliding_window(WINDOW)
    writer.add_sliding_window_pattern([True, False])
    writer.add_rope_freq_base_swa(10_000.0)
    norms = NORMS | KEY_NORMS | {"post_attention_norm": DIM, "post_ffw_norm": DIM}
    tensors = _decided(_ends(dice, np.sqrt(DIM)) | _layers(dice, ATTENTION | FEED, norms))
    for layer in range(LAYERS):
        tensors[f"blk.{layer}.post_attention_norm.weight"] *= 8 if layer == LAYERS - 1 else 1
    return tensors


def _phi3(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """Q, K and V in one matrix, gate and up in another."""
    _begin(writer)
    words(writer, vocabulary())
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_feed_forward_length(INNER)
    tensors = _decided(_ends(dice) | _layers(dice, ATTENTION | FEED, NORMS))
    return _fused(tensors, {"attn_qkv": ("attn_q", "attn_k", "attn_v"), "ffn_up": ("ffn_gate", "ffn_up")})


def _fused(tensors: Tensors, into: dict[str, tuple[str, ...]]) -> Tensors:
    """Several matrices of each layer one below the other in one."""
    for layer in range(LAYERS):
        for fused, parts in into.items():
            matrices = [tensors.pop(f"blk.{layer}.{part}.weight") for part in parts]
            tensors[f"blk.{layer}.{fused}.weight"] = np.concatenate(matrices)
    return tensors


def _gpt2(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """Positions come out of a table; plain norms, and a bias everywhere."""
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(DIM)
    writer.add_block_count(LAYERS)
    writer.add_layer_norm_eps(1e-5)
    writer.add_head_count(HEADS)
    writer.add_feed_forward_length(INNER)
    words(writer, vocabulary())
    matrices: Shapes = dict.fromkeys(ATTENTION, (DIM, DIM))
    matrices |= {"ffn_up": (INNER, DIM), "ffn_down": (DIM, INNER)}
    biases: Shapes = dict.fromkeys(("attn_norm", "ffn_norm", "attn_output", "ffn_down"), (DIM,))
    biases |= {"attn_qkv": (3 * DIM,), "ffn_up": (INNER,)}
    tensors = _decided(_ends(dice) | _layers(dice, matrices, NORMS, biases))
    ends = {"output_norm.bias": np.zeros(DIM, np.float32), "position_embd.weight": _matrix(dice, CONTEXT, DIM)}
    return _fused(tensors, {"attn_qkv": ("attn_q", "attn_k", "attn_v")}) | ends


def _granite(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """Its sums, logits, embeddings and attention have factors of their own."""
    _plain(writer)
    writer.add_logit_scale(4.0)
    writer.add_residual_scale(0.5)
    writer.add_embedding_scale(6.0)
    writer.add_attention_scale(0.1)
    return _decided(_ends(dice, 6.0) | _layers(dice, ATTENTION | FEED, NORMS))


def _gpt_oss(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """Attention may go to a sink instead of to a token; experts, biases everywhere, and a window in every second layer."""
    _plain(writer)
    _experts(writer)
    writer.add_sliding_window(WINDOW)
    norms = {"attn_norm": DIM, "post_attention_norm": DIM}
    biases: Shapes = {name: shape[:1] for name, shape in ATTENTION.items()}
    biases |= {name: shape[:2] for name, shape in EXPERT_FEED.items()} | {"ffn_gate_inp": (EXPERTS,)}
    sinks = {f"blk.{layer}.attn_sinks.weight": dice.normal(10, 5, HEADS).astype(np.float32) for layer in range(LAYERS)}
    tensors = _ends(dice) | _layers(dice, ATTENTION | EXPERT_FEED, norms, biases)
    return _decided(tensors | _gates(dice)) | sinks


def _mamba(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """A state of fixed size instead of KV cells."""
    _begin(writer)
    words(writer, vocabulary())
    writer.add_head_count(0)
    writer.add_feed_forward_length(0)
    writer.add_ssm_conv_kernel(CONV)
    writer.add_ssm_inner_size(2 * DIM)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    inner = 2 * DIM
    matrices: Shapes = {
        "ssm_in": (2 * inner, DIM), "ssm_conv1d": (inner, CONV), "ssm_x": (RANK + 2 * STATE, inner),
        "ssm_dt": (inner, RANK), "ssm_out": (DIM, inner),
    }  # fmt: skip
    tensors = _ends(dice) | _layers(dice, matrices, {"attn_norm": DIM}, {"ssm_conv1d": (inner,), "ssm_dt": (inner,)})
    for layer in range(LAYERS):
        tensors[f"blk.{layer}.ssm_a"] = -np.tile(np.arange(1, STATE + 1, dtype=np.float32), (inner, 1))
        tensors[f"blk.{layer}.ssm_d"] = np.ones(inner, np.float32)
    return tensors


def _lfm2(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """A hybrid: the first layer is a short convolution with a state, the second has attention."""
    _begin(writer)
    words(writer, vocabulary())
    _heads(writer, [0, KEY_HEADS])
    writer.add_feed_forward_length(INNER)
    writer.add_shortconv_l_cache(3)
    tensors = _ends(dice)
    tensors["token_embd_norm.weight"] = tensors.pop("output_norm.weight")
    tensors |= _layers(dice, FEED, NORMS)
    for name, shape in ATTENTION.items():
        tensors[f"blk.1.{name}.weight"] = _matrix(dice, *shape)
    for name, size in KEY_NORMS.items():
        tensors[f"blk.1.{name}.weight"] = np.ones(size, np.float32)
    for name, shape in {"conv": (DIM, 3), "in_proj": (3 * DIM, DIM), "out_proj": (DIM, DIM)}.items():
        tensors[f"blk.0.shortconv.{name}.weight"] = _matrix(dice, *shape) * (0.05 if name == "out_proj" else 1)
    return _decided(tensors)


def _bert(writer: GGUFWriter, dice: np.random.Generator) -> Tensors:
    """Makes vectors, and no text: each token looks at every other."""
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(DIM)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)
    special = len(tiny_bert.SPECIAL)
    tokens = [token if place < special else _marked(token) for place, token in enumerate(tiny_bert.VOCABULARY)]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * special + [TokenType.NORMAL] * (len(tokens) - special))
    writer.add_token_type_count(2)
    for add, name in (
        (writer.add_pad_token_id, "[PAD]"), (writer.add_unk_token_id, "[UNK]"), (writer.add_bos_token_id, "[CLS]"),
        (writer.add_sep_token_id, "[SEP]"), (writer.add_mask_token_id, "[MASK]"),
    ):  # fmt: skip
        add(tokens.index(name))
    tensors = {
        "token_embd.weight": _matrix(dice, len(tokens), DIM), "position_embd.weight": _matrix(dice, POSITIONS, DIM),
        "token_types.weight": _matrix(dice, 2, DIM), "token_embd_norm.weight": np.ones(DIM, np.float32),
        "token_embd_norm.bias": np.zeros(DIM, np.float32),
    }  # fmt: skip
    matrices: Shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (DIM, DIM))
    matrices |= {"ffn_up": (INNER, DIM), "ffn_down": (DIM, INNER)}
    norms = {"attn_output_norm": DIM, "layer_output_norm": DIM}
    biases: Shapes = {name: shape[:1] for name, shape in matrices.items()} | dict.fromkeys(norms, (DIM,))
    return tensors | _layers(dice, matrices, norms, biases)


def _marked(token: str) -> str:
    """What begins a word is marked, instead of what goes on with one."""
    return token[2:] if token.startswith("##") else f"\u2581{token}"


ARCHITECTURES: dict[str, Callable[[GGUFWriter, np.random.Generator], Tensors]] = {
    "llama": _llama, "llama+experts": _mixtral, "qwen2": _qwen2, "qwen3": _qwen3, "qwen3moe": _qwen3moe, "gemma3": _gemma3,
    "phi3": _phi3, "granite": _granite, "gpt2": _gpt2,
    "gpt-oss": _gpt_oss, "mamba": _mamba, "lfm2": _lfm2, "bert": _bert,
}  # fmt: skip
"""Name (what stands behind a `+` is not written) -> what writes its numbers, and makes its tensors."""
STATEFUL = ("mamba", "lfm2")
"""Those whose memory can be neither cut nor copied."""
