"""What was rendered, as the tokens of a transformers folder: the template's markers as such, and all else as text.

A tokenizer that is made anew knows its markers by secret names, which nobody can type, and is the same otherwise. So a text is
tokenised in one piece: what a space or the beginning of a text does to the tokens depends on what stands before.
"""

import json
import secrets
from functools import cached_property
from typing import Any

from llmctld.engine.prompt.markers import Markers, Rendered

DIGITS = [chr(0x12000 + digit) for digit in range(16)]
"""For secret names: cuneiform signs, of which no normaliser makes anything else."""
LETTERS = 32


class HfReader:
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.values()
        control = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
        self.markers = Markers(control, (token.content for token in added), _source(tokenizer.chat_template))
        self._token = {added.content: token for token, added in tokenizer.added_tokens_decoder.items()}
        self._unknown = tokenizer.unk_token
        """What it has no token for becomes that one."""

    def tokens(self, rendered: Rendered, around: bool = False) -> list[int]:
        """`around`: with what the tokenizer puts before and after a text; a template writes that itself."""
        if not any(True for _ in self.markers.forged(rendered)):
            whole: list[int] = self._tokenizer.encode(rendered.text, add_special_tokens=False)
            written = [
                self._token.get(name) for _, name in self.markers.found(rendered.veiled) if name != self._unknown
            ]
            if [token for token in whole if token in self._marked] == written:  # a normaliser makes no marker either
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
        """For a tokenizer that is not of the library `tokenizers`: markers, and each text between them by itself."""
        tokens: list[int] = []
        for place, part in enumerate(self._parts(rendered, {})):
            if place % 2:
                tokens.append(self._tokenizer.convert_tokens_to_ids(part))
            elif part:
                tokens += self._tokenizer.encode(part, add_special_tokens=around, split_special_tokens=True)
        return tokens

    @cached_property
    def _renamed(self) -> tuple[Any, dict[str, str]] | None:
        """On first use, since it takes a second: the other tokenizer, and name -> secret name. None where it differs."""
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
    """Of the chat template, of all of them where there are several."""
    return "\n".join(map(str, template.values())) if isinstance(template, dict) else template or ""
