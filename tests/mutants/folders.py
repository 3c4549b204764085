"""Mutants of transformers folders: their JSON files, the headers and data of their safetensors, and odd things in a file's place.

It knows the format of safetensors (https://github.com/huggingface/safetensors), and nothing of who reads such folders.
"""

import json
import os
import random
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests import tiny_llama
from tests.mutants import notations
from tests.mutants.mutate import mutant

LENGTHS = (0, 1, 7, 2**20, 100 * 2**20 + 1, 2**31, 2**40, 2**63, 2**64 - 1)
WEIGHTS, CONFIG, WORDS, WORDS_CONFIG = "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"
INDEX = "model.safetensors.index.json"
WORDS_COUNT = 400
LAYER: dict[str, tuple[int, ...]] = {
    "self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64), "self_attn.v_proj": (32, 64), "self_attn.o_proj": (64, 64),
    "mlp.gate_proj": (128, 64), "mlp.up_proj": (128, 64), "mlp.down_proj": (64, 128), "input_layernorm": (64,),
    "post_attention_layernorm": (64,),
}  # fmt: skip


def write(folder: Path) -> Path:
    """A sound model: a tiny Llama with random weights. Written without torch, which takes seconds to import."""
    folder.mkdir()
    described = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "head_dim": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": WORDS_COUNT,
        "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "dtype": "float32", "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(described))
    tiny_llama.tokenizer(WORDS_COUNT).save(str(folder / WORDS))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": tiny_llama.BEGIN, "eos_token": tiny_llama.END}
    (folder / WORDS_CONFIG).write_text(json.dumps(told | {"chat_template": tiny_llama.CHAT}))
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens": (WORDS_COUNT, 64),
        "lm_head": (WORDS_COUNT, 64),
        "model.norm": (64,),
    }
    for layer in range(2):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in LAYER.items()}
    dice = np.random.default_rng(0)
    tensors = {f"{name}.weight": dice.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / WEIGHTS)
    return folder


def weights(dice: random.Random, folder: Path) -> str:
    """Another header, header length or data."""
    file = folder / WEIGHTS
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = data[8 : 8 + length], data[8 + length :]
    match dice.randrange(7):
        case 0:
            told = dice.choice((*LENGTHS, length - 1, length + 1, len(data)))
            file.write_bytes(struct.pack("<Q", told) + header + body)
            return f"header of {told} bytes"
        case 1:
            names, header = mutant(dice, [header], notations.JSON)
            file.write_bytes(struct.pack("<Q", len(header)) + header + body)
            return f"header {names}"
        case 2:
            file.write_bytes(data[: dice.randrange(len(data))])
            return "cut"
        case 3:
            file.write_bytes(data[: 8 + length] + dice.choice((b"\0", b"\xff", b"\x7f")) * len(body))
            return "other weights"
        case 4:
            with file.open("r+b") as stream:
                stream.truncate(2**40)
            return "sparse"
        case 5:
            deep = b"[" * 100_000
            file.write_bytes(struct.pack("<Q", len(deep)) + deep + body)
            return "deep header"
        case _:
            return _tensor(dice, file, json.loads(header), body)


def _tensor(dice: random.Random, file: Path, header: dict[str, dict[str, object]], body: bytes) -> str:
    """One tensor that is described otherwise."""
    name = dice.choice([name for name in header if name != "__metadata__"])
    tensor = header[name]
    key, value = dice.choice(
        (
            ("dtype", dice.choice(("F64", "I8", "BF16", "F8_E4M3", "nothing", ""))),
            ("shape", dice.choice(([], [0], [2**63], [-1, 64], [2**32, 2**32], [64, 64, 64, 64, 64], "x"))),
            ("data_offsets", dice.choice(([0, 4], [4, 0], [0, 2**63], [-8, 8], [0], [], [1, 5], "x", [2**40, 2**41]))),
        )
    )
    tensor[key] = value
    if dice.random() < 0.3:
        header[dice.choice(("", "\0", "lm_head.weight", "x" * 70_000))] = header.pop(name)
    told = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(told)) + told + body)
    return f"{name}: {key} {value}"


def text(dice: random.Random, folder: Path, names: Sequence[str]) -> str:
    file = folder / dice.choice(names)
    changes, content = mutant(dice, [file.read_bytes()], notations.JSON)
    file.write_bytes(content)
    return f"{file.name}: {changes}"


def place(dice: random.Random, folder: Path, names: Sequence[str]) -> str:
    """Something else where a file should be."""
    file = folder / dice.choice(names)
    kind = dice.choice(("pipe", "folder", "device", "loop", "lost", "up", "index"))
    if kind != "index":
        file.unlink()
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "device":
            file.symlink_to("/dev/zero")
        case "loop":
            file.symlink_to(file)
        case "up":
            (folder / "up").symlink_to(folder)
        case "index":
            (folder / WEIGHTS).unlink()
            where = dice.choice(("../../../../etc/passwd", "/dev/zero", "", "x", "\0", "up", WEIGHTS))
            (folder / INDEX).write_text(json.dumps({"weight_map": {"a": where}}))
    return f"{file.name}: {kind}"


def mutated(dice: random.Random, sound: Path, out: Path, names: Sequence[str]) -> str:
    """Writes a mutant of a folder, in which one of the files `names` is changed; returns what was changed."""
    shutil.copytree(sound, out)
    if dice.random() < 0.12:
        return place(dice, out, names)
    if WEIGHTS in names and dice.random() < 0.6:
        return weights(dice, out)
    return text(dice, out, [name for name in names if name != WEIGHTS])
