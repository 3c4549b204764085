"""Writes a small Llama as a transformers folder: random weights, a tokenizer trained on a few lines, no download.

It knows the files of such a folder and nothing of llmctl. It is called in a process that has torch.
"""

import json
from pathlib import Path
from typing import Any

END, BEGIN, THINK = "</s>", "<s>", ("<think>", "</think>")
LINES = [
    "The quick brown fox jumps over the lazy dog, and the river runs under the old bridge.",
    'A list of names: {"name": "Ada", "age": 36, "ok": true}, [1, 2, 3], and 4.5 of the others.',
    "Why is the sky blue? Because light of short waves is scattered more than that of long ones.",
    "def add(one, other):\n    return one + other\n",
]
CHAT = (
    "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def write(
    folder: Path, *, seed: int = 0, template: str | None = CHAT, context: int = 512, hidden: int = 64, layers: int = 2,
    vocabulary: int = 400, spread: float = 0.2, **more: Any,
) -> Path:  # fmt: skip
    """Write a model of `layers` layers of `hidden` numbers; `more` are fields of LlamaConfig. Returns the folder.

    `spread`: of the weights; the larger, the less its greedy text repeats itself.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer(vocabulary)
    torch.manual_seed(seed)
    heads = max(2, hidden // 64)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads // 2, max_position_embeddings=context,
        initializer_range=spread, bos_token_id=0, eos_token_id=1, **more,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.generation_config.pad_token_id = 1
    model.save_pretrained(folder)
    words.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BEGIN, "eos_token": END, "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    if template is not None:
        settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def tokenizer(size: int) -> Any:
    """Byte-level BPE, as most models have, with a begin token before each text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[BEGIN, END, *THINK], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, 0)],
    )  # fmt: skip
    return tokenizer


def with_endless_pattern(folder: Path) -> None:
    """Give a written folder's tokenizer a regular expression that the library gives up on, with a panic, after many letters x."""
    file = folder / "tokenizer.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    split = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, state["pre_tokenizer"]]}
    file.write_text(json.dumps(state), encoding="utf-8")
