"""A folder's tokens as bytes: joined they equal the text that the tokenizer itself decodes."""

from typing import Any

import pytest
from llmctld.engine.errors import Refusal
from llmctld.engine.hf.words import HfWords
from llmctld.engine.messages import ChatMessage
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests import tiny_llama

TEXTS = ["the sky is blue", "käse, 日本 and 😀!", "a\n\n  b\tc"]


def byte_level() -> Any:
    return tiny_llama.tokenizer(400)


def sentence_piece() -> Any:
    """As in Llama 2: a space is a character of its own, and unknown characters are bytes."""
    pieces = [
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "\u2581",
        *"abcdefghijklmnopqrstuvwxyz",
        "\u2581t",
        "he",
        "\u2581the",
    ]
    merges = [("\u2581", "t"), ("h", "e"), ("\u2581t", "he")]
    vocabulary = {piece: token for token, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def words(tokenizer: Any, **options: Any) -> HfWords:
    make: Any = PreTrainedTokenizerFast
    fast = make(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **options)
    return HfWords(fast, len(fast), [1])


@pytest.mark.parametrize("make", [byte_level, sentence_piece])
def test_joined_token_pieces_equal_the_text(make: Any) -> None:
    vocabulary = words(make())
    for text in TEXTS:
        tokens = vocabulary.encode_rendered(text)
        joined = b"".join(map(vocabulary.piece, tokens)).decode()
        assert joined.removeprefix(" ") == text
        assert vocabulary._tokenizer.decode(tokens) == text


def test_wordpiece_tokens_are_joined_with_spaces() -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "play": 1, "##ing": 2, "now": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    vocabulary = words(tokenizer)
    assert b"".join(map(vocabulary.piece, vocabulary.encode_rendered("playing now"))) == b" playing now"


def test_special_tokens_have_no_text_except_thinking_tags() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    vocabulary = words(tokenizer, bos_token="<s>", eos_token="</s>")
    named = {name: vocabulary._tokenizer.convert_tokens_to_ids(name) for name in ("<s>", "</s>", "<think>", "<tool>")}
    assert {name: vocabulary.piece(token) for name, token in named.items()} == {
        "<s>": b"", "</s>": b"", "<think>": b"<think>", "<tool>": b"<tool>",
    }  # fmt: skip
    assert vocabulary.shown(named["</s>"]) == "</s>"
    assert vocabulary.piece(10**6) == b""


def test_bos_token_is_added_once() -> None:
    vocabulary = words(byte_level(), bos_token="<s>", eos_token="</s>")
    assert vocabulary.encode("a").count(0) == vocabulary.encode("<s>a").count(0) == 1


def test_logit_bias_key_must_be_exactly_one_token() -> None:
    vocabulary = words(sentence_piece())
    assert vocabulary.named("17") == 17
    assert vocabulary.piece(vocabulary.named("the")) == b" the"
    with pytest.raises(Refusal, match="must be one"):
        vocabulary.named("the sky")
    with pytest.raises(Refusal, match="out of range"):
        vocabulary.named("99999")


def test_folders_chat_template_can_use_its_token_names() -> None:
    vocabulary = words(byte_level(), chat_template="{{ eos_token }}{{ messages[0].content }}", eos_token="e")
    assert vocabulary.template is not None
    assert vocabulary.template.render([ChatMessage("user", "y")]) == "ey"
    assert words(byte_level()).template is None
