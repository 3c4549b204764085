"""What a reasoning model thinks, told apart from what it answers, while the text is still arriving.

It knows the tags by which models mark their thinking, and only at the very start of an output: later ones are text.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tags:
    """`header` may stand between the end of the thinking and the answer, and belongs to neither."""

    opening: str
    closing: str
    header: str = ""


HARMONY_FINAL = "<|channel|>final<|message|>"
TAGS = (
    Tags("<think>", "</think>"),
    Tags("<thinking>", "</thinking>"),
    Tags("[THINK]", "[/THINK]"),
    Tags("<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant" + HARMONY_FINAL),
)
RENDERED = frozenset(
    {tags.opening for tags in TAGS}
    | {tags.closing for tags in TAGS}
    | {"<|channel|>", "<|message|>", "<|end|>", "<|start|>"}
)
"""Control tokens that become text although others do not: without them nothing could be told apart."""


def opened_by(prompt: str) -> Tags | None:
    """The tags whose opening the prompt (as the template made it) ends with: the output begins inside the thinking."""
    return next((tags for tags in TAGS if prompt.rstrip().endswith(tags.opening)), None)


class Splitter:
    """Feed it text in any pieces; each call returns what is known of (answer, reasoning), never a part of a tag."""

    def __init__(self, opened: Tags | None = None) -> None:
        self._tags = opened
        self._held = ""
        self._read = self._begin if opened is None else self._enter

    def feed(self, text: str) -> tuple[str, str]:
        self._held += text
        return self._read()

    def end(self) -> tuple[str, str]:
        """What was held back, now that nothing follows."""
        held, self._held = self._held, ""
        if self._read == self._think:
            return "", held.rstrip()
        if self._read == self._enter:
            return "", held.strip()
        return (held.lstrip() if self._read == self._leave else held), ""

    def _begin(self) -> tuple[str, str]:
        start = self._held.lstrip()
        if start.startswith(HARMONY_FINAL):
            return self._answer_from(start[len(HARMONY_FINAL) :])
        for tags in TAGS:
            if start.startswith(tags.opening):
                self._tags, self._held, self._read = tags, start[len(tags.opening) :], self._enter
                return self._enter()
        if any(opening.startswith(start) for opening in (HARMONY_FINAL, *(tags.opening for tags in TAGS))):
            return "", ""
        return self._answer_from(self._held)

    def _enter(self) -> tuple[str, str]:
        """White space at the start of the thinking is no part of it."""
        self._held = self._held.lstrip()
        if not self._held:
            return "", ""
        self._read = self._think
        return self._think()

    def _think(self) -> tuple[str, str]:
        closing = self._tags.closing if self._tags else ""
        thought, found, rest = self._held.partition(closing)
        if found:
            self._held, self._read = rest, self._leave
            answer, _ = self._leave()
            return answer, thought.rstrip()
        ready = self._held[: len(self._held) - overlap(self._held, closing)].rstrip()
        self._held = self._held[len(ready) :]
        return "", ready

    def _leave(self) -> tuple[str, str]:
        header = self._tags.header if self._tags else ""
        start = self._held.lstrip()
        if header and start.startswith(header):
            return self._answer_from(start[len(header) :])
        if header.startswith(start):
            return "", ""
        return self._answer_from(start)

    def _answer_from(self, text: str) -> tuple[str, str]:
        self._held, self._read = text, self._answer
        return self._answer()

    def _answer(self) -> tuple[str, str]:
        text, self._held = self._held, ""
        return text, ""


def overlap(text: str, word: str) -> int:
    """The length of the longest end of `text` that is a beginning of `word`, but not all of it."""
    for length in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0
