"""Text is text: what was typed, piped or read from a file never becomes one of the tokens that steer a model.

It knows the names of those tokens, the markers, and which of them a template wrote; how text becomes tokens is the
vocabulary's. Two renderings tell: with the messages as they are, and with a veil over each typed character that begins a
marker. Whatever a template does to a message, the veil goes with it, and under it nothing is a marker.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import NamedTuple

from llmctld.engine.messages import ChatMessage
from llmctld.engine.prompt.chat import rewritten, texts

VEILS = 0xF0000
"""From here on lie characters that mean nothing: private use, in a plane that hardly anybody uses."""
SHAPE = re.compile("<[|\uff5c].+>|<.+[|\uff5c]>", re.DOTALL)
"""What is named so is a marker, whatever kind of token its file says that it is: Command R's and DeepSeek's turns are called
text there."""
CHANGED = "its chat template goes by tags that stand in messages; the ones in these were typed, and stay text"

Render = Callable[[list[ChatMessage]], str]


class Rendered(NamedTuple):
    """What the model reads. `veiled` is of the same length, and begins no marker where somebody typed one."""

    text: str
    veiled: str
    remark: str = ""
    """What the one who asks should know."""


class Markers:
    """`control`: names of tokens that are never text. `others`: of tokens that may be: those of them are markers that look so,
    and tags that the template itself writes, by its `source`. White space and words stay what they are.
    """

    def __init__(self, control: Iterable[str], others: Iterable[str] = (), source: str = "") -> None:
        self.control = frozenset(control) - {""}
        self.tags = frozenset(name for name in others if SHAPE.fullmatch(name) or _is_tag(name, source)) - self.control
        names = sorted(self.control | self.tags, key=len, reverse=True)
        self.firsts = sorted({name[0] for name in names})
        self._first = re.compile("[" + "".join(map(re.escape, self.firsts)) + "]" if names else r"(?!)")
        self._lengths: dict[str, dict[int, None]] = defaultdict(dict)
        for name in names:
            self._lengths[name[0]][len(name)] = None

    def render(self, render: Render, messages: list[ChatMessage]) -> Rendered:
        """What a template makes of the messages; raises what `render` does."""
        text = render(messages)
        typed = [text for message in messages for text in texts(message)]
        veils = self._veils(typed)
        if not veils:
            return Rendered(text, text)
        veiled = render([rewritten(message, lambda text: _replaced(text, veils)) for message in messages])
        lifted = _replaced(veiled, {veil: first for first, veil in veils.items()})
        if lifted == text:
            return Rendered(text, veiled)
        holds = any(map(self._names, typed))
        if not holds and self._names(text) == self._names(veiled):
            return Rendered(text, text)  # it goes by what is no marker of this model, and makes none of it
        return Rendered(lifted, veiled, CHANGED)

    def typed(self, text: str, before: str = "") -> Rendered:
        """Text without a template; `before` is put in front of it, and is not typed."""
        return Rendered(before + text, before + _replaced(text, self._veils([text])))

    def found(self, text: str) -> Iterator[tuple[int, str]]:
        """(where it begins, its name) of the markers in a text, from left to right, the longest where several begin."""
        end = 0
        for match in self._first.finditer(text):
            if match.start() >= end and (name := self._named(text, match.start())):
                end = match.start() + len(name)
                yield match.start(), name

    def forged(self, rendered: Rendered, tags: bool = False) -> Iterator[int]:
        """Where a typed character begins a marker; `tags`: only those that may be text."""
        text, veiled = rendered.text, rendered.veiled
        if text is veiled or (tags and not self.tags):
            return
        among = self.tags if tags else self.tags | self.control
        for match in self._first.finditer(text):
            at = match.start()
            if text[at] != veiled[at] and self._named(text, at, among):
                yield at

    def _named(self, text: str, at: int, among: frozenset[str] | None = None) -> str:
        """The longest marker that begins there, empty where none does."""
        for length in self._lengths[text[at]]:
            name = text[at : at + length]
            if name in among if among is not None else name in self.control or name in self.tags:
                return name
        return ""

    def _names(self, text: str) -> list[str]:
        return [name for _, name in self.found(text)]

    def _veils(self, contents: list[str]) -> dict[str, str]:
        """First character of a marker -> one that none of the texts has; empty where none has a first character."""
        held = [first for first in self.firsts if any(first in content for content in contents)]
        free = (chr(code) for code in count(VEILS) if not any(chr(code) in content for content in contents))
        return dict(zip(held, free, strict=False))


def _is_tag(name: str, source: str) -> bool:
    """Whether it looks like one, `<think>` or `[/INST]`, and the template speaks of it."""
    in_signs = len(name) > 2 and not any(end.isalnum() or end.isspace() for end in (name[0], name[-1]))
    return in_signs and any(map(str.isalnum, name)) and name in source


def _replaced(text: str, characters: dict[str, str]) -> str:
    for old, new in characters.items():
        text = text.replace(old, new)
    return text
