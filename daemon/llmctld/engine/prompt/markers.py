"""Keeps text text: what was typed, piped or read from a file never becomes a control token.

It knows the names of control tokens (markers) and which of them the template wrote; the vocabulary makes tokens from text. The
template is rendered twice: with the messages as they are, and with a veil character in place of each typed character that starts
a marker. The veil passes through whatever the template does to a message, and marks where a marker was typed.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import NamedTuple

from llmctld.engine.messages import ChatMessage
from llmctld.engine.prompt.chat import rewritten, texts

VEILS = 0xF0000
"""First veil character: private use, in a rarely used plane."""
SHAPE = re.compile("<[|\uff5c].+>|<.+[|\uff5c]>", re.DOTALL)
"""A token with such a name is a marker, whatever type the file gives it: Command R and DeepSeek declare turn markers as text."""
CHANGED = "the chat template interprets tags inside messages; tags typed in these messages stay text"

Render = Callable[[list[ChatMessage]], str]


class Rendered(NamedTuple):
    """The text for the model. `veiled` has the same length and contains no typed markers."""

    text: str
    veiled: str
    remark: str = ""
    """Remark for the user."""


class Markers:
    """`control`: names of tokens that are never text. `others`: tokens that may be text; of those, markers are the ones that look
    like one, and tags that the template itself writes (by its `source`)."""

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
        """Render the messages; raises what `render` raises."""
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
            return Rendered(text, text)  # it splits at text that is no marker of this model
        return Rendered(lifted, veiled, CHANGED)

    def typed(self, text: str, before: str = "") -> Rendered:
        """Typed text without a template. `before` is put in front and counts as written by us."""
        return Rendered(before + text, before + _replaced(text, self._veils([text])))

    def found(self, text: str) -> Iterator[tuple[int, str]]:
        """(position, name) of the markers in a text, left to right, the longest at each position."""
        end = 0
        for match in self._first.finditer(text):
            if match.start() >= end and (name := self._named(text, match.start())):
                end = match.start() + len(name)
                yield match.start(), name

    def forged(self, rendered: Rendered, tags: bool = False) -> Iterator[int]:
        """Positions where a typed character starts a marker; `tags`: only markers that may be text."""
        text, veiled = rendered.text, rendered.veiled
        if text is veiled or (tags and not self.tags):
            return
        among = self.tags if tags else self.tags | self.control
        for match in self._first.finditer(text):
            at = match.start()
            if text[at] != veiled[at] and self._named(text, at, among):
                yield at

    def _named(self, text: str, at: int, among: frozenset[str] | None = None) -> str:
        """The longest marker at this position; empty if there is none."""
        for length in self._lengths[text[at]]:
            name = text[at : at + length]
            if name in among if among is not None else name in self.control or name in self.tags:
                return name
        return ""

    def _names(self, text: str) -> list[str]:
        return [name for _, name in self.found(text)]

    def _veils(self, contents: list[str]) -> dict[str, str]:
        """First character of a marker -> a veil that occurs in none of the texts; empty if no marker has a first character."""
        held = [first for first in self.firsts if any(first in content for content in contents)]
        free = (chr(code) for code in count(VEILS) if not any(chr(code) in content for content in contents))
        return dict(zip(held, free, strict=False))


def _is_tag(name: str, source: str) -> bool:
    """Whether it looks like a tag (`<think>`, `[/INST]`) and occurs in the template."""
    in_signs = len(name) > 2 and not any(end.isalnum() or end.isspace() for end in (name[0], name[-1]))
    return in_signs and any(map(str.isalnum, name)) and name in source


def _replaced(text: str, characters: dict[str, str]) -> str:
    for old, new in characters.items():
        text = text.replace(old, new)
    return text
