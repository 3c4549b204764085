"""Tokenises a rendered prompt for a GGUF vocabulary: the template's markers as control tokens, everything else as text.

The library parses a text with all control tokens or with none, so the text is split at the template's markers and the parts are
parsed without. If no marker was typed, the tokens equal those of the whole text.
"""

from collections.abc import Iterator
from functools import lru_cache

import llama_cpp.llama_cpp as lib

from llmctld.engine.llama.vocabulary import Vocabulary
from llmctld.engine.prompt.markers import Markers, Rendered

SPACES = " \t\n\v\f\r"
"""White space that a marker with the strip attribute removes."""
NEVER_TEXT = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_UNKNOWN


class GgufReader:
    """`source`: the model's chat template, empty if it has none."""

    def __init__(self, vocabulary: Vocabulary, source: str = "") -> None:
        self._vocabulary = vocabulary
        control, others = vocabulary.kinds(NEVER_TEXT), vocabulary.kinds(lib.LLAMA_TOKEN_ATTR_USER_DEFINED)
        self.markers = Markers(map(vocabulary.text, control), map(vocabulary.text, others), source)
        self._eats_left = self._eating(control, lib.LLAMA_TOKEN_ATTR_LSTRIP)
        self._eats_right = self._eating(control, lib.LLAMA_TOKEN_ATTR_RSTRIP)
        self._marker = lru_cache(maxsize=None)(vocabulary.tokenise)

    def prompt(self, rendered: Rendered) -> list[int]:
        """Tokens, with the beginning-of-sequence token once if the model wants it."""
        return self._vocabulary.with_bos(self._tokens(rendered))

    def text_tokens(self, rendered: Rendered) -> list[int]:
        """Tokens with everything that embedding models want around a text."""
        text, veiled = self._vocabulary.normal(rendered.text), self._vocabulary.normal(rendered.veiled)
        begin, end = self._vocabulary.affixes
        return [*begin, *self._tokens(Rendered(text, veiled)), *end]

    def _tokens(self, rendered: Rendered) -> list[int]:
        cuts = {at + 1 for at in self.markers.forged(rendered, tags=True)}
        tokens: list[int] = []
        for start, end, marker in self._parts(rendered):
            inside = sorted(cut for cut in cuts if start < cut < end)
            for at, (here, there) in enumerate(zip([start, *inside], [*inside, end], strict=True)):
                tokens += self._vocabulary.plain(rendered.text[here:there], continued=at > 0)
            tokens += self._marker(marker) if marker else ()
        return tokens

    def _parts(self, rendered: Rendered) -> Iterator[tuple[int, int, str]]:
        """(start, end, marker behind it) of each text; white space that a marker strips belongs to neither."""
        text, start = rendered.text, 0
        for at, name in self.markers.found(rendered.veiled):
            if name in self.markers.tags:
                continue  # the library finds it in a text by itself
            end = at
            while name in self._eats_left and start < end and text[end - 1] in SPACES:
                end -= 1
            yield start, end, name
            start = at + len(name)
            while name in self._eats_right and start < len(text) and text[start] in SPACES:
                start += 1
        yield start, len(text), ""

    def _eating(self, kind: list[int], attribute: int) -> frozenset[str]:
        return frozenset(self._vocabulary.text(token) for token in kind if self._vocabulary.has(token, attribute))
