"""From the bytes of tokens to text for a reader: whole characters, thinking apart, stop strings never printed in part.

It knows nothing of models and tokens: bytes go in, in any pieces, and the same text comes out.
"""

import codecs
from dataclasses import dataclass

from llmctld.engine.answer.reasoning import TAGS, Splitter, Tags, overlap


@dataclass(frozen=True)
class Gain:
    """What one step adds; `stopped`: a stop string was reached, and nothing after it counts."""

    text: str = ""
    reasoning: str = ""
    stopped: bool = False


class Text:
    """The text of one answer. Stop strings are looked for in the answer, not in what the model thinks."""

    def __init__(
        self, stop: list[str] | None = None, opened: Tags | None = None, known: tuple[Tags, ...] = TAGS
    ) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._splitter = Splitter(opened, known)
        self._stop = Stop(stop or [])

    def feed(self, data: bytes) -> Gain:
        answer, reasoning = self._splitter.feed(self._decoder.decode(data))
        text, stopped = self._stop.feed(answer)
        return Gain(text, reasoning, stopped)

    def end(self) -> Gain:
        """What was held back, now that the model has nothing more to say."""
        first, thought = self._splitter.feed(self._decoder.decode(b"", final=True))
        last, more = self._splitter.end()
        text, stopped = self._stop.feed(first + last)
        return Gain(text + self._stop.end(), thought + more, stopped)


class Stop:
    """Passes text on up to the first stop string that is complete, and holds back what could begin one."""

    def __init__(self, words: list[str]) -> None:
        self._words = [word for word in words if word]
        self._held = ""
        self._stopped = False

    def feed(self, text: str) -> tuple[str, bool]:
        """The text that is safe to print, and whether a stop string was reached."""
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
