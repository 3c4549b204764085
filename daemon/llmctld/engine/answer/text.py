"""Turns token bytes into text: whole characters, reasoning apart from the answer, stop strings never shown in part.

Bytes may arrive in pieces of any size; the resulting text is the same.
"""

import codecs
from dataclasses import dataclass

from llmctld.engine.answer.reasoning import TAGS, Splitter, Tags, overlap


@dataclass(slots=True)
class NewText:
    """New text of one step. `stopped`: a stop string was reached, and all later text is dropped."""

    text: str = ""
    reasoning: str = ""
    stopped: bool = False

    def __add__(self, more: "NewText") -> "NewText":
        return NewText(self.text + more.text, self.reasoning + more.reasoning, self.stopped or more.stopped)


class Text:
    """The text of one answer. Stop strings are matched in the answer, not in the reasoning."""

    def __init__(
        self, stop: list[str] | None = None, opened: Tags | None = None, known: tuple[Tags, ...] = TAGS
    ) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._splitter = Splitter(opened, known)
        self._stop = StopStrings(stop or [])

    def feed(self, data: bytes) -> NewText:
        answer, reasoning = self._splitter.feed(self._decoder.decode(data))
        text, stopped = self._stop.feed(answer)
        return NewText(text, reasoning, stopped)

    def end(self) -> NewText:
        """The text held back, at the end of the answer."""
        first, thought = self._splitter.feed(self._decoder.decode(b"", final=True))
        last, more = self._splitter.end()
        text, stopped = self._stop.feed(first + last)
        return NewText(text + self._stop.end(), thought + more, stopped)


class StopStrings:
    """Passes text through up to the first complete stop string, and holds back the beginning of a possible one."""

    def __init__(self, words: list[str]) -> None:
        self._words = [word for word in words if word]
        self._held = ""
        self._stopped = False

    def feed(self, text: str) -> tuple[str, bool]:
        """Text that is safe to show, and whether a stop string was reached."""
        if not self._words:
            return text, False
        if self._stopped or not text:
            return "", self._stopped
        text = self._held + text
        ends = [(text.find(word) + len(word), -len(word)) for word in self._words if word in text]
        if ends:
            end, length = min(ends)
            self._held, self._stopped = "", True
            return text[: end + length], True
        keep = max((overlap(text, word) for word in self._words), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def end(self) -> str:
        held, self._held = self._held, ""
        return held
