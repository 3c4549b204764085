"""What an answer may look like: a JSON schema or a GBNF grammar, compiled, and the tokens that it allows next.

It knows llguidance, which does the work within limits of its own, and a vocabulary as bytes; neither logits nor samplers.
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
from llmctld.engine.forms.numbers import holdable
from llmctld.engine.forms.smallest import shortest_text, smallest_value

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

JSON: "JsonCompileOptions" = {
    "whitespace_flexible": True,
    "whitespace_pattern": r"( |\n {0,16})?",  # one blank or one line end: a model that loops on white space gets no further
    "item_separator": ",",
    "key_separator": ":",
    "lenient": False,  # what cannot be kept to is refused, never left out
    "coerce_one_of": False,
}
"""How JSON may be laid out. Given last, so that `x-guidance` in a schema changes nothing."""
LIMITS = LLParserLimits(step_lexer_fuel=50_000, precompute_large_lexemes=False, verbose_errors=False)
"""What compiling, and each step after it, may cost; the library's own limits where none is named here."""


def written(schema: str | None, grammar: str | None) -> str:
    """A schema (JSON) or a grammar (GBNF) in the library's notation. Raises Refusal (`usage`)."""
    if schema is not None:
        try:
            return LLMatcher.grammar_from_json_schema(holdable(schema), overrides=JSON)
        except (ValueError, msgspec.DecodeError, RecursionError) as error:
            raise Refusal("usage", f"the schema is no JSON: {error}") from error
    try:
        rules = gbnf.parse(grammar or "")
    except gbnf.GbnfError as error:
        raise Refusal("usage", f"the grammar does not compile: {error}", "It is read as GBNF (llama.cpp).") from error
    if shortest_text(rules) is None:
        raise Refusal(
            "usage", "the grammar does not compile: no text of a possible length satisfies it", "Mend `root`."
        )
    return LLMatcher.grammar_from_lark(gbnf.lark(rules))


@dataclass
class Bytes:
    """A vocabulary without a model: each byte is a token, and one more is the end."""

    tokens: list[bytes]
    eos_token_id: int = 256
    bos_token_id: int | None = None
    special_token_ids: tuple[int, ...] = (256,)

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


def of_bytes() -> LLTokenizer:
    """What a text without a model is checked with."""
    return LLTokenizer(TokenizerWrapper(Bytes([bytes([byte]) for byte in range(256)] + [b"<end>"])))


class Grammar:
    """Follows one answer, token by token. Raises Refusal (`usage`) where nothing would satisfy it, or it is too large."""

    def __init__(self, words: LLTokenizer, schema: str | None, grammar: str | None) -> None:
        self._size = words.vocab_size
        self._matcher = LLMatcher(words, written(schema, grammar), limits=LIMITS, log_level=0)
        if self._matcher.is_error() or not self.allowed().any():
            raise _refusal("grammar" if schema is None else "schema", self._matcher.get_error())

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, the end tokens too; none where it can neither go on nor end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            return np.zeros(self._size, np.bool_)
        return np.unpackbits(bits, bitorder="little")[: self._size].view(np.bool_)

    def take(self, token: int) -> bool:
        """The token came; False if it is not one of those allowed, and then nothing is allowed any more."""
        return bool(self._matcher.consume_token(token))

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here."""
        return bool(self._matcher.is_accepting()) and not self._matcher.is_error()


def smallest(words: LLTokenizer, schema: str | None, grammar: str | None) -> str:
    """The smallest text that satisfies one of the two, as far as one can be found. Raises Refusal."""
    Grammar(words, schema, grammar)
    if grammar is not None:
        return shortest_text(gbnf.parse(grammar)) or ""
    found = smallest_value(msgspec.json.decode(schema or "{}"))
    if found is None:
        raise Refusal("invalid_request", "echo finds no value that satisfies this schema", "Ask another model.")
    return found


def _refusal(what: str, error: str) -> Refusal:
    """The library's words, where they say something, and what to do about them."""
    words = " ".join(error.partition("<")[0].split())
    hint = next((hint for sign, hint in HINTS.items() if sign in words), f"Mend the {what}.")
    if not words or "NoExtension" in words:
        return Refusal("usage", f"the {what} does not compile: no text satisfies it, or it is too large", SIMPLER)
    return Refusal("usage", f"the {what} does not compile: {words}", hint)


SIMPLER = "Make it simpler: fewer alternatives, shorter repetitions, less nesting."
HINTS = {
    "Unimplemented keys": "Leave these keywords out: an answer cannot be held to them while it is generated.",
    "retrieving it failed": "Nothing is fetched: copy the definition under `$defs` and refer to it as `#/$defs/NAME`.",
    "oneOf": "Use `anyOf`.",
    "Failed to generate regex for": "No answer can be held to a bound so far away: leave it out, and say it in words.",
    "Unsatisfiable": "Something in it contradicts itself.",
    **dict.fromkeys(("too", "fuel"), SIMPLER),
}
