"""Restricts an answer to a JSON schema or GBNF grammar: compiles it, and tells the tokens it allows next.

llguidance does the work within its own limits. This module knows the vocabulary as bytes, neither logits nor samplers.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance._tokenizer import TokenizerWrapper
from numpy.typing import NDArray

from llmctld.engine.errors import Refusal
from llmctld.engine.forms import gbnf
from llmctld.engine.forms.numbers import supported_schema
from llmctld.engine.forms.smallest import shortest_text, smallest_value

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

JSON: "JsonCompileOptions" = {
    "whitespace_flexible": True,
    "whitespace_pattern": r"( |\n {0,16})?",  # one blank or line end: prevents endless white space
    "item_separator": ",",
    "key_separator": ":",
    "lenient": False,  # refuse unsupported keywords rather than ignore them
    "coerce_one_of": False,
}
"""Layout of JSON answers. Passed last, so that `x-guidance` in a schema cannot change it."""
LIMITS = LLParserLimits(step_lexer_fuel=50_000, precompute_large_lexemes=False, verbose_errors=False)
"""Limits for compiling and for each step; the library's defaults otherwise."""


def written(schema: str | None, grammar: str | None) -> str:
    """A schema (JSON) or grammar (GBNF) in the library's notation. Raises Refusal (`usage`)."""
    if schema is not None:
        try:
            return LLMatcher.grammar_from_json_schema(supported_schema(schema), overrides=JSON)
        except (ValueError, msgspec.DecodeError, RecursionError) as error:
            raise Refusal("usage", f"the schema is not JSON: {error}", "Correct the schema.") from error
    try:
        rules = gbnf.parse(grammar or "")
    except gbnf.GbnfError as error:
        raise Refusal(
            "usage", f"the grammar does not compile: {error}", "A grammar must be GBNF, the format of llama.cpp."
        ) from error
    if shortest_text(rules) is None:
        raise Refusal(
            "usage", "the grammar does not compile: no text of finite length matches it", "Correct the rule `root`."
        )
    return LLMatcher.grammar_from_lark(gbnf.lark(rules))


@dataclass
class Bytes:
    """A vocabulary without a model: one token per byte, and an end token."""

    tokens: list[bytes]
    eos_token_id: int = 256
    bos_token_id: int | None = None
    special_token_ids: tuple[int, ...] = (256,)

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


def of_bytes() -> LLTokenizer:
    """Tokenizer for checking text without a model."""
    return LLTokenizer(TokenizerWrapper(Bytes([bytes([byte]) for byte in range(256)] + [b"<end>"])))


class Grammar:
    """Follows one answer token by token. Raises Refusal (`usage`) if nothing satisfies it or it is too large."""

    def __init__(self, words: LLTokenizer, schema: str | None, grammar: str | None) -> None:
        self._size = words.vocab_size
        self._matcher = LLMatcher(words, written(schema, grammar), limits=LIMITS, log_level=0)
        if self._matcher.is_error() or not self.allowed().any():
            raise _refusal("grammar" if schema is None else "schema", self._matcher.get_error())

    def allowed(self) -> NDArray[np.bool_]:
        """Tokens allowed next, including end tokens; none if it can neither continue nor end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            return np.zeros(self._size, np.bool_)
        return np.unpackbits(bits, bitorder="little")[: self._size].view(np.bool_)

    def take(self, token: int) -> bool:
        """Consume a token. False if it is not allowed; then nothing is allowed any more."""
        return bool(self._matcher.consume_token(token))

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here."""
        return bool(self._matcher.is_accepting()) and not self._matcher.is_error()


def smallest(words: LLTokenizer, schema: str | None, grammar: str | None) -> str:
    """A small text that satisfies the schema or grammar. Raises Refusal."""
    Grammar(words, schema, grammar)
    if grammar is not None:
        return shortest_text(gbnf.parse(grammar)) or ""
    found = smallest_value(msgspec.json.decode(schema or "{}"))
    if found is None:
        raise Refusal("invalid_request", "echo finds no value that satisfies this schema", "Use another model.")
    return found


def _refusal(what: str, error: str) -> Refusal:
    """The library's message, if it has one, with a hint."""
    words = " ".join(error.partition("<")[0].split())
    hint = next((hint for sign, hint in HINTS.items() if sign in words), f"Correct the {what}.")
    if not words or "NoExtension" in words:
        return Refusal("usage", f"the {what} does not compile: no text satisfies it, or it is too large", SIMPLER)
    return Refusal("usage", f"the {what} does not compile: {words}", hint)


SIMPLER = "Simplify it: fewer alternatives, shorter repetitions, less nesting."
HINTS = {
    "Unimplemented keys": "Remove these keywords: they cannot be enforced during generation.",
    "retrieving it failed": "Nothing is downloaded: copy the definition to `$defs` and refer to it as `#/$defs/NAME`.",
    "oneOf": "Use `anyOf`.",
    "Failed to generate regex for": "A bound this large cannot be enforced: remove it, or state it in the prompt.",
    "Unsatisfiable": "Two of its requirements contradict each other.",
    **dict.fromkeys(("too", "fuel"), SIMPLER),
}
