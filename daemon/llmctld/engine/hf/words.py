"""The tokenizer of a transformers folder, and its chat template.

Templates run in the sandbox, as for a GGUF file: transformers' own has no limits.
"""

import json
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmctld.engine.answer.reasoning import RENDERED
from llmctld.engine.answer.token_ids import checked, named
from llmctld.engine.errors import Refusal
from llmctld.engine.messages import Load
from llmctld.engine.prompt.template import ChatTemplate

if TYPE_CHECKING:
    from llguidance import LLTokenizer

SPACE = "\u2581"
"""SentencePiece's sign for a space."""


class HfWords:
    """`size`: length of a row of logits. `ends`: end tokens."""

    def __init__(self, tokenizer: Any, size: int, ends: list[int], load: Load | None = None) -> None:
        self._tokenizer, self.size, self.ends = tokenizer, size, ends
        self.template = _template(tokenizer, load)
        self._bos = tokenizer.bos_token_id
        self._added = {token: str(added.content) for token, added in tokenizer.added_tokens_decoder.items()}
        self._silent = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
        self._kinds = _kinds(tokenizer)
        self._rendered = RENDERED
        self.piece = lru_cache(maxsize=None)(self._piece)

    def encode(self, text: str) -> list[int]:
        """Tokens with those that the tokenizer adds around them; the begin token once."""
        tokens: list[int] = self._tokenizer.encode(text)
        return tokens[1:] if tokens[:2] == [self._bos, self._bos] else tokens

    def render(self, names: frozenset[str]) -> None:
        """Render these special tokens as text from now on."""
        if not names <= self._rendered:
            self._rendered |= names
            self.piece.cache_clear()

    def encode_rendered(self, text: str) -> list[int]:
        """Tokens of a rendered template, which contains all special tokens."""
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return tokens

    def checked(self, tokens: list[int]) -> list[int]:
        """Return `tokens`. Raises Refusal for an id that is out of range."""
        return checked(tokens, self.size)

    def named(self, key: str) -> int:
        """The token of a `logit_bias` key: a decimal id, or a text that is exactly one token."""
        return named(key, self.size, self.encode_rendered, self.piece)

    def shown(self, token: int) -> str:
        """A token for display: a silent one by its name, part of a character as U+FFFD."""
        return self.piece(token).decode(errors="replace") or self._added.get(token, "")

    def name(self, token: int) -> str:
        """The token as its tokenizer writes it."""
        return str(self._tokenizer.convert_ids_to_tokens(token))

    def is_end(self, token: int) -> bool:
        return token < 0 or token in self.ends

    @cached_property
    def words(self) -> "LLTokenizer":
        """The vocabulary for grammars, computed on first use: for 150,000 tokens it takes most of a second."""
        from llguidance.hf import from_tokenizer

        if not self._tokenizer.is_fast:
            message = "this model's tokenizer is not one of the library `tokenizers`, which a schema or grammar needs"
            raise Refusal("invalid_request", message, "Omit `--schema` and `--grammar`.")
        size = max(self.size, len(self._tokenizer))
        return from_tokenizer(self._tokenizer, n_vocab=size, eos_token=self.ends or None)

    def _piece(self, token: int) -> bytes:
        """Bytes of a token. Special tokens are silent, except those that separate reasoning from the answer."""
        if token in self._added:
            name = self._added[token]
            return name.encode() if token not in self._silent or name in self._rendered else b""
        text: str = self._tokenizer.convert_ids_to_tokens(token) or "" if 0 <= token < len(self._tokenizer) else ""
        if "ByteLevel" in self._kinds:
            return bytes(BYTES[letter] for letter in text) if all(map(BYTES.__contains__, text)) else text.encode()
        if "ByteFallback" in self._kinds and len(text) == 6 and text.startswith("<0x"):
            return bytes([int(text[3:5], 16)])
        if "WordPiece" in self._kinds:
            return (text[2:] if text.startswith("##") else f" {text}").encode()
        return text.replace(SPACE, " ").encode()


def _template(tokenizer: Any, load: Load | None) -> ChatTemplate | None:
    """If there are several, the one for chats without tools."""
    source = (load.template if load else "") or tokenizer.chat_template
    if not source:
        return None
    if isinstance(source, dict):
        source = source.get("default") or next(iter(source.values()))
    options, name = (load.template_options, Path(load.path).name) if load else ({}, "")
    return ChatTemplate(source, {**tokenizer.special_tokens_map, **options}, model=name)


def _kinds(tokenizer: Any) -> set[str]:
    """Types of its decoder's parts; a tokenizer without any is SentencePiece's own."""
    if not tokenizer.is_fast:
        return {"ByteFallback"}
    decoder = json.loads(tokenizer.backend_tokenizer.to_str()).get("decoder") or {}
    return {part["type"] for part in (decoder, *decoder.get("decoders", [])) if "type" in part}


def _bytes() -> dict[str, int]:
    """Letter -> byte: GPT-2 writes each byte as a visible letter (https://github.com/openai/gpt-2/blob/master/src/encoder.py)."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}


BYTES = _bytes()
