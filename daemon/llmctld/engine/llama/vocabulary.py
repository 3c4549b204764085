"""Text to tokens and tokens to bytes, as the model's file defines them.

No templates, sampling or KV memory.
"""

import ctypes
import unicodedata
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import llama_cpp.llama_cpp as lib

from llmctld.engine.answer.reasoning import RENDERED
from llmctld.engine.answer.token_ids import checked, named

if TYPE_CHECKING:
    from llguidance import LLTokenizer


class Vocabulary:
    def __init__(self, model: Any) -> None:
        self._vocab = lib.llama_model_get_vocab(model)
        self.size: int = lib.llama_vocab_n_tokens(self._vocab)
        bos: int = lib.llama_vocab_bos(self._vocab)
        self._bos = [bos] if bos >= 0 and lib.llama_vocab_get_add_bos(self._vocab) else []
        self.filler = max(bos, 0)
        """A token that exists in every vocabulary."""
        self.bos_text = self.text(bos)
        self.eos_text = self.text(lib.llama_vocab_eos(self._vocab))
        self._rendered = RENDERED
        self.piece = lru_cache(maxsize=None)(self._piece)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text that may contain control tokens, with the beginning-of-sequence token."""
        return self.with_bos(self.tokenise(text))

    def with_bos(self, tokens: list[int]) -> list[int]:
        """`tokens` with the beginning-of-sequence token once, if the model wants it."""
        return tokens if tokens[:1] == self._bos else self._bos + tokens

    def normal(self, text: str) -> str:
        """The text as the model's own tokenizer normalises it, where the library does not: BERT splits Korean syllables."""
        is_bert = lib.llama_vocab_type(self._vocab) == lib.LLAMA_VOCAB_TYPE_WPM
        return unicodedata.normalize("NFD", text) if is_bert else text

    @cached_property
    def affixes(self) -> tuple[list[int], list[int]]:
        """Tokens that an embedding model wants before and after a text."""
        inside, whole = self.plain("a"), self._tokenise("a", around=True, parse=False)
        begin = next(at for at in range(len(whole)) if whole[at : at + len(inside)] == inside)
        return whole[:begin], whole[begin + len(inside) :]

    def tokenise(self, text: str) -> list[int]:
        """Tokens; names of control tokens become those tokens."""
        return self._tokenise(text, around=False, parse=True)

    def plain(self, text: str, continued: bool = False) -> list[int]:
        """Tokens of text without control tokens. `continued`: the text follows other text, so no space is put before it."""
        if not continued or lib.llama_vocab_type(self._vocab) != lib.LLAMA_VOCAB_TYPE_SPM:
            return self._tokenise(text, around=False, parse=False)
        before, both = self.plain("\n"), self.plain("\n" + text)
        return both[len(before) :] if both[: len(before)] == before else self.plain(text)

    def _tokenise(self, text: str, around: bool, parse: bool) -> list[int]:
        data = text.encode()
        count = len(data) + 16
        while True:
            tokens = (lib.llama_token * count)()
            found: int = lib.llama_tokenize(self._vocab, data, len(data), tokens, count, around, parse)
            if found >= 0:
                return list(tokens[:found])
            count = -found

    def kinds(self, attributes: int) -> list[int]:
        """Tokens with one of these attributes."""
        return [token for token, has in enumerate(self._attributes) if has & attributes]

    def has(self, token: int, attribute: int) -> bool:
        return bool(self._attributes[token] & attribute)

    @cached_property
    def _attributes(self) -> list[int]:
        return [lib.llama_vocab_get_attr(self._vocab, token) for token in range(self.size)]

    def render(self, names: frozenset[str]) -> None:
        """Render these control tokens as text from now on."""
        if not names <= self._rendered:
            self._rendered |= names
            self.piece.cache_clear()

    def is_end(self, token: int) -> bool:
        return token < 0 or bool(lib.llama_vocab_is_eog(self._vocab, token))

    @cached_property
    def ends(self) -> list[int]:
        """All end tokens, computed on first use: for 150,000 tokens it takes a tenth of a second."""
        return [token for token in range(self.size) if self.is_end(token)]

    @cached_property
    def end(self) -> int:
        """An end token; -1 if there is none (`is_end` accepts it)."""
        return self.ends[0] if self.ends else -1

    @cached_property
    def words(self) -> "LLTokenizer":
        """The vocabulary for grammars, computed on first use: for 150,000 tokens it takes most of a second."""
        from llguidance import LLTokenizer

        ends = self.ends or [lib.llama_vocab_eos(self._vocab)]
        call = ctypes.cast(lib._lib.llama_tokenize, ctypes.c_void_p).value
        return LLTokenizer.from_llamacpp(  # type: ignore[attr-defined, no-any-return]  # llguidance.llamacpp uses it
            tokens=[self._bytes(token) for token in range(self.size)],
            vocab_ptr=self._vocab,
            tokenize_fptr=call,
            eos_token=ends,
            slices=None,
        )

    def difference(self, other: "Vocabulary") -> str:
        """The first difference of two vocabularies, in words; empty if each token means the same in both.

        Unused tokens at the end are ignored: files of one family are padded to different sizes.
        """
        kinds = lib.llama_vocab_type(self._vocab), lib.llama_vocab_type(other._vocab)
        if kinds[0] != kinds[1]:
            return f"its type is {kinds[1]}, not {kinds[0]}"
        if self.used_size != other.used_size:
            return f"it has {other.used_size} tokens, not {self.used_size}"
        for token in range(self.used_size):
            if self.text(token) != other.text(token):
                return f"its token {token} is {other.text(token)!r}, not {self.text(token)!r}"
        return ""

    @cached_property
    def used_size(self) -> int:
        """Number of tokens without the unused ones at the end."""
        unused = lib.LLAMA_TOKEN_ATTR_UNUSED
        backwards = range(self.size, 0, -1)
        return next((size for size in backwards if not self.has(size - 1, unused)), 0)

    def checked(self, tokens: list[int]) -> list[int]:
        """Return `tokens`. Raises Refusal for an id that is out of range."""
        return checked(tokens, self.size)

    def named(self, key: str) -> int:
        """The token of a `logit_bias` key: a decimal id, or a text that is exactly one token."""
        return named(key, self.size, self.tokenise, self.piece)

    def shown(self, token: int) -> str:
        """A token for display: a silent one by its name, part of a character as U+FFFD."""
        return self.piece(token).decode(errors="replace") or self.text(token)

    def _bytes(self, token: int) -> bytes:
        """Bytes for llguidance: 0xFF before the name of a token that is not text."""
        if self.has(token, lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_UNKNOWN):
            return b"\xff" + self.text(token).encode()
        return self._read(token, False)

    def _piece(self, token: int) -> bytes:
        """Bytes of a token. Control tokens are silent, except those that separate reasoning from the answer."""
        return self._read(token, self.text(token) in self._rendered)

    def _read(self, token: int, shown: bool) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        size: int = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, shown)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, shown)
        return buffer.raw[:size]

    def text(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes | None = lib.llama_vocab_get_text(self._vocab, token)
        return (text or b"").decode(errors="replace")
