"""Separates a model's reasoning from its answer while the text arrives.

Reasoning tags count only before the answer begins; later ones are text.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Tags(NamedTuple):
    """Markup of one model family. `header` may stand between reasoning and answer, `direct` at the start of an answer without
    reasoning, `footer` at the end of an answer; none of the three belongs to the text."""

    opening: str
    closing: str
    header: str = ""
    direct: str = ""
    footer: str = ""


FINAL = "<|channel|>final<|message|>"
HARMONY = ("<|end|>", "<|start|>assistant" + FINAL, FINAL, "<|end|>")
TAGS = (
    Tags("<think>", "</think>"),
    Tags("<thinking>", "</thinking>"),
    Tags("<thought>", "</thought>"),
    Tags("<reasoning>", "</reasoning>"),
    Tags("[THINK]", "[/THINK]"),
    Tags("<seed:think>", "</seed:think>"),
    Tags("<mm:think>", "</mm:think>"),
    Tags("<think:opensource>", "</think:opensource>"),
    Tags("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    Tags("<|inner_prefix|>", "<|inner_suffix|>"),
    Tags("<|channel>thought", "<channel|>"),
    Tags(
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        "<|open|>response<|sep|>",
        "<|open|>response<|sep|>",
        "<|close|>",
    ),
    Tags("<|channel|>analysis<|message|>", *HARMONY),
    Tags("<|channel|>commentary<|message|>", *HARMONY),
)
APRIEL = Tags("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", footer="[END FINAL RESPONSE]")
"""The form that Apriel's template asks for; some versions of that model omit the opening words."""
UNIT = re.compile(r"<[^<>\s][^<>]*>|\[/?[A-Z][A-Z _]*\]")
"""One piece of markup."""


def markup_of(all: Iterable[Tags]) -> frozenset[str]:
    """All markup that `all` consists of."""
    return frozenset(unit for tags in all for text in tags for unit in UNIT.findall(text))


RENDERED = markup_of(TAGS)
"""Control tokens that are rendered as text, because the reasoning tags would be lost otherwise."""
LONE = tuple(tags for tags in TAGS if tags.closing != HARMONY[0])
"""Families whose closing tag also counts without an opening one: servers drop the opening tag when it is part of the prompt."""
CLOSINGS = re.compile("|".join(re.escape(tags.closing) for tags in LONE))
QUOTES = "`'\""


class Splitter:
    """Feed text in pieces of any size; each call returns (answer, reasoning) and never part of a tag.

    `opened`: the output begins inside these tags. `known`: tags that may occur, likeliest first; the first one's footer applies.
    `lone`: a closing tag may occur without an opening one. Then all text before it was reasoning, and `moved` is set. With
    `guess`, nothing is returned until that is decided.
    """

    def __init__(
        self, opened: Tags | None = None, known: tuple[Tags, ...] = TAGS, lone: bool = False, guess: bool = False
    ) -> None:
        self._tags, self._known = opened, known
        self._lone, self._guess = lone, guess
        self._footer = known[0].footer if known else ""
        self._held = self._last = ""
        self.moved = self._thought = self._gap = False
        self._passes = False
        """Whether all later text belongs to the answer: it contains neither tags nor a footer."""
        self._read: Callable[[], tuple[str, str]] = self._begin if opened is None else self._enter

    def feed(self, text: str) -> tuple[str, str]:
        if self._passes:
            return text, ""
        self._held += text
        answer, reasoning = "", ""
        while True:
            state = self._read
            said, thought = state()
            gap = "\n\n" if thought and self._gap else ""
            answer, reasoning, self._gap = answer + said, reasoning + gap + thought, self._gap and not thought
            self._thought = self._thought or bool(thought)
            if self._read == state:
                return answer, reasoning

    def is_told(self) -> None:
        """Reasoning arrives in a separate field, so closing tags are text."""
        self._lone = False

    def end(self) -> tuple[str, str]:
        """The text held back, at the end of the stream."""
        held, self._held = self._held, ""
        if self._read in (self._think, self._enter):
            thought = held.strip() if self._read == self._enter else held.rstrip()
            return "", "\n\n" * bool(thought and self._gap) + thought
        return (held.lstrip() if self._read == self._leave else held), ""

    # ---- states: each consumes held text and sets the next state ----------------------------------------------------

    def _begin(self) -> tuple[str, str]:
        start = self._held.lstrip()
        for tags in self._known:
            if tags.direct and start.startswith(tags.direct):
                self._to(self._answer, start[len(tags.direct) :], tags)
            elif start.startswith(tags.opening):
                self._to(self._enter, start[len(tags.opening) :], tags)
            elif self._lone and tags in LONE and start.startswith(tags.closing):
                self._to(self._leave, start[len(tags.closing) :], tags)
            else:
                continue
            return "", ""
        words = [word for tags in self._known for word in (tags.opening, tags.direct)]
        words += [tags.closing for tags in LONE] if self._lone else []
        if not any(word.startswith(start) for word in words if word):
            self._read = self._answer
        return "", ""

    def _enter(self) -> tuple[str, str]:
        """Skip white space at the start of the reasoning."""
        self._held = self._held.lstrip()
        if self._held:
            self._read = self._think
        return "", ""

    def _think(self) -> tuple[str, str]:
        closing = self._tags.closing if self._tags else ""
        thought, found, rest = self._held.partition(closing)
        if found:
            self._to(self._leave, rest, self._tags)
            return "", thought.rstrip()
        ready = self._held[: len(self._held) - overlap(self._held, closing)].rstrip()
        self._held = self._held[len(ready) :]
        return "", ready

    def _leave(self) -> tuple[str, str]:
        """After reasoning: a header, more reasoning (perhaps behind the beginning of a header), or the answer."""
        header, direct = (self._tags.header, self._tags.direct) if self._tags else ("", "")
        start = self._held.lstrip()
        lead = header.removesuffix(direct) if direct else ""
        openings = [(tags, before + tags.opening) for tags in self._known for before in {lead, ""}]
        again = next(((tags, opening) for tags, opening in openings if start.startswith(opening)), None)
        if header and start.startswith(header):
            self._to(self._answer, start[len(header) :], self._tags)
        elif again is not None:
            self._gap = self._thought
            self._to(self._enter, start[len(again[1]) :], again[0])
        elif not any(word.startswith(start) for word in (header, *(opening for _, opening in openings))):
            self._to(self._answer, start, self._tags)
        return "", ""

    def _answer(self) -> tuple[str, str]:
        if self._lone:
            if (found := self._closed()) is not None:
                tags, at = found
                thought, rest = self._held[:at].rstrip(), self._held[at + len(tags.closing) :]
                self.moved = self._thought = True
                self._to(self._leave, rest, tags)
                return "", thought
            if self._guess:
                return "", ""
        self._passes = not (self._lone or self._footer)
        if self._footer:
            text, found_footer, _ = self._held.partition(self._footer)
            if found_footer:
                self._held, self._read = "", self._over
                return text, ""
        words = [self._footer, *(tags.closing for tags in LONE if self._lone)]
        keep = max((overlap(self._held, word) for word in words if word), default=0)
        text = self._held[: len(self._held) - keep]
        if self._lone:
            text = text.rstrip()  # white space before a closing tag belongs neither to the reasoning nor to the answer
        self._held = self._held[len(text) :]
        self._last = text[-1:] or self._last
        return text, ""

    def _over(self) -> tuple[str, str]:
        self._held = ""
        return "", ""

    def _to(self, state: Callable[[], tuple[str, str]], held: str, tags: Tags | None) -> None:
        """Switch to `state`. After any tag, a lone closing tag is text."""
        self._read, self._held, self._tags, self._lone = state, held, tags, False
        if tags is not None:
            self._footer = tags.footer

    def _closed(self) -> tuple[Tags, int] | None:
        """The first lone closing tag and its position. A tag in quotes is text."""
        for match in CLOSINGS.finditer(self._held):
            before = self._held[match.start() - 1] if match.start() else self._last
            if not before or before not in QUOTES:
                return next(tags for tags in LONE if tags.closing == match[0]), match.start()
        return None


def overlap(text: str, word: str) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of `word`."""
    for length in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0
