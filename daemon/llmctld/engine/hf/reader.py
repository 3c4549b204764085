"""Tokenises a rendered prompt for a transformers folder: the template's markers as control tokens, everything else as text.

A second tokenizer has secret names for the markers, which cannot be typed, and is otherwise equal. So the text is tokenised in
one piece: the effect of a space or of the beginning of a text depends on what precedes it.
"""

import json
import secrets
from functools import cached_property
from typing import Any

from llmctld.engine.prompt.markers import Markers, Rendered

DIGITS = [chr(0x12000 + digit) for digit in range(16)]
"""Digits of secret names: cuneiform signs, which no normaliser changes."""
LETTERS = 32


class HfReader:
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.values()
        control = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
        self.markers = Markers(control, (token.content for token in added), _source(tokenizer.chat_template))
        self._token = {added.content: token for token, added in tokenizer.added_tokens_decoder.items()}
        self._unknown = tokenizer.unk_token
        """The token for unknown characters."""

    def tokens(self, rendered: Rendered, around: bool = False) -> list[int]:
        """`around`: with the tokens that the tokenizer adds before and after a text; a template writes those itself."""
        if not any(True for _ in self.markers.forged(rendered)):
            whole: list[int] = self._tokenizer.encode(rendered.text, add_special_tokens=False)
            written = [
                self._token.get(name) for _, name in self.markers.found(rendered.veiled) if name != self._unknown
            ]
            if [
                token for token in whole if token in self._marked
            ] == written:  # the normaliser must not create a marker
                return list(self._tokenizer.encode(rendered.text)) if around else whole
        if not self._tokenizer.is_fast or self._renamed is None:
            return self._in_parts(rendered, around)
        backend, names = self._renamed
        tokens: list[int] = backend.encode("".join(self._parts(rendered, names)), add_special_tokens=around).ids
        return tokens

    @cached_property
    def _marked(self) -> frozenset[int]:
        names = self.markers.control | self.markers.tags
        return frozenset(token for name, token in self._token.items() if name in names and name != self._unknown)

    def _parts(self, rendered: Rendered, names: dict[str, str]) -> list[str]:
        parts, start = [], 0
        for at, name in self.markers.found(rendered.veiled):
            parts += [rendered.text[start:at], names.get(name, name)]
            start = at + len(name)
        return [*parts, rendered.text[start:]]

    def _in_parts(self, rendered: Rendered, around: bool) -> list[int]:
        """For a tokenizer that is not from the library `tokenizers`: tokenise markers and the texts between them separately."""
        tokens: list[int] = []
        for place, part in enumerate(self._parts(rendered, {})):
            if place % 2:
                tokens.append(self._tokenizer.convert_tokens_to_ids(part))
            elif part:
                tokens += self._tokenizer.encode(part, add_special_tokens=around, split_special_tokens=True)
        return tokens

    @cached_property
    def _renamed(self) -> tuple[Any, dict[str, str]] | None:
        """The second tokenizer, and name -> secret name; built on first use, since it takes a second. None if it behaves
        differently."""
        from tokenizers import Tokenizer

        state = json.loads(self._tokenizer.backend_tokenizer.to_str())
        names = {name: _secret() for name in self.markers.control | self.markers.tags if name in self._token}
        for added in state["added_tokens"]:
            added["content"] = names.get(added["content"], added["content"])
        model = state["model"]
        if isinstance(model["vocab"], dict):
            model["vocab"] = {names.get(piece, piece): token for piece, token in model["vocab"].items()}
        else:
            model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
        if "unk_token" in model:
            model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
        state["truncation"] = state["padding"] = None
        backend = Tokenizer.from_str(json.dumps(state))
        same = all(backend.encode(secret, add_special_tokens=False).ids[-1:] == [self._token[name]]
                   for name, secret in names.items())  # fmt: skip
        return (backend, names) if same else None


def _secret() -> str:
    return "".join(secrets.choice(DIGITS) for _ in range(LETTERS))


def _source(template: Any) -> str:
    """Source of the chat template; of all of them if there are several."""
    return "\n".join(map(str, template.values())) if isinstance(template, dict) else template or ""
