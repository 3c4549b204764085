"""Reads a GGUF file of the guide back into torch, for comparing and for damaging on purpose.

It knows what export writes, and no other model's file.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tools.guide.model.network import Network, Shape
from tools.guide.model.tokens import CONTROL, END, Tokens


def metadata(file: Path) -> dict[str, Any]:
    """Every key of the file's metadata."""
    return {name: field.contents() for name, field in GGUFReader(file).fields.items()}


def network(file: Path) -> Network:
    """The network as the file holds it."""
    keys, reader = metadata(file), GGUFReader(file)
    made = Network(
        Shape(
            len(keys["tokenizer.ggml.tokens"]),
            dim=keys["llama.embedding_length"],
            layers=keys["llama.block_count"],
            heads=keys["llama.attention.head_count"],
            hidden=keys["llama.feed_forward_length"],
            context=keys["llama.context_length"],
        )
    )
    made.load_state_dict({tensor.name: torch.tensor(tensor.data).float() for tensor in reader.tensors})
    return made.eval()


def tokens(file: Path) -> Tokens:
    """The vocabulary as the file holds it."""
    keys = metadata(file)
    texts: list[str] = keys["tokenizer.ggml.tokens"]
    first = texts.index(END)
    merges = [tuple(pair.split(" ")) for pair in keys["tokenizer.ggml.merges"]]
    bpe = Tokenizer(models.BPE({text: at for at, text in enumerate(texts[:first])}, merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    return Tokens(bpe, tuple(text.strip("<|>").removeprefix("answer:") for text in texts[first + len(CONTROL) :]))


def zeroed(file: Path, out: Path, names: Iterable[str]) -> None:
    """A copy of the file in which the tensors whose names begin so are zero."""
    out.write_bytes(file.read_bytes())
    begins = tuple(names)
    for tensor in GGUFReader(out, "r+").tensors:
        if tensor.name.startswith(begins):
            tensor.data[:] = 0
