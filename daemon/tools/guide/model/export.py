"""Writes the trained network as the GGUF file that ships with llmctl.

It knows the keys of the format that llama.cpp reads, and what the hub reads of this model.
"""

from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quants
from tools.guide.model.tokens import END, TEMPLATE
from tools.guide.model.train import Trained
from tools.guide.texts import unrelated
from tools.guide.texts.answers import corpus

DESCRIPTION = "Answers questions about llmctl, and knows nothing else."


def export(trained: Trained, file: Path) -> None:
    """Write the file: matrices in half precision, the rest in full."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_suffix(".new")
    writer = GGUFWriter(written, "llama")
    _describe(writer, trained)
    _words(writer, trained)
    for name, weight in trained.network.named_parameters():
        table: np.ndarray = weight.detach().to(torch.float32).numpy()
        if table.ndim == 2:
            table = quants.quantize(table, GGMLQuantizationType.F16)
        writer.add_tensor(name, table)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    written.replace(file)


def _describe(writer: GGUFWriter, trained: Trained) -> None:
    shape = trained.network.shape
    writer.add_name("guide")
    writer.add_description(DESCRIPTION)
    writer.add_license("apache-2.0")
    writer.add_string("llmctl.guide.corpus", corpus())
    writer.add_string("llmctl.guide.refusal", unrelated.first_words())
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.dim // shape.heads)
    writer.add_rope_freq_base(shape.base)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_float32("general.sampling.temp", 0.0)


def _words(writer: GGUFWriter, trained: Trained) -> None:
    tokens = trained.tokens
    kinds = [TokenType.NORMAL] * tokens.pieces + [TokenType.CONTROL] * (len(tokens) - tokens.pieces)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens.names_of_all)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokens.merges])
    writer.add_bos_token_id(tokens.control(END))
    writer.add_eos_token_id(tokens.control(END))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
