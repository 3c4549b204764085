"""An endpoint's answer as it arrives: text and thought out of its events, what it cost, and whether it came to a good end.

It knows no connection and no form of an event (`chunk.py` does). An answer that did not come to its end is never taken for one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from llmctl.errors import EngineFailed
from llmctld.engine.answer.reasoning import Splitter
from llmctld.engine.messages import Scored
from llmctld.models.remote.chunk import AnswerChunk, Unreadable, read
from llmctld.models.remote.http import refusal
from llmctld.models.remote.http.breaker import AttemptFailed
from llmctld.models.remote.http.lenient_json import Letters
from llmctld.models.remote.http.sse import Event

FAILED = frozenset(
    {
        "error",
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "failed",
        "network_error",
        "insufficient_system_resource",
        "timeout",
    }
)
"""Reasons to end an answer that are none: it was broken off."""
NOTICES = {
    "content_filter": "the endpoint's filter cut the answer off (finish_reason content_filter); it is not stored",
    "tool_calls": "the endpoint answered with calls of tools, and has none to call (finish_reason tool_calls)",
    "function_call": "the endpoint answered with the call of a function, and has none to call (finish_reason function_call)",
}
"""What an end is worth telling."""


class Empty(AttemptFailed):
    """A stream that ends well and says nothing: so some servers fail, and say why only to who asks for no stream."""


class AnswerPart(NamedTuple):
    text: str = ""
    reasoning: str = ""
    moved: bool = False
    """All text before was thought."""


@dataclass
class AnswerReader:
    """Token counts are the endpoint's; without them the parts that came are counted. `clean` takes secrets out of words.

    `lone`, `guess`: see Splitter.
    """

    who: str
    raw: bool
    clean: Callable[[str], str] = str
    lone: bool = False
    guess: bool = False
    events: int = 0
    """Those that said something."""
    begun: bool = False
    done: bool = False
    finish_reason: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    parts: int = 0
    size: int = 0
    """Characters, so far."""
    logprobs: list[Scored] = field(default_factory=list)
    _counted: int | None = None
    _text: Letters = field(default_factory=Letters)
    _thought: Letters = field(default_factory=Letters)

    def __post_init__(self) -> None:
        self._splitter = Splitter(lone=self.lone, guess=self.guess)

    @property
    def had_lone(self) -> bool:
        """Whether a closing tag came alone."""
        return self._splitter.moved

    @property
    def completion_tokens(self) -> int:
        return self.parts if self._counted is None else self._counted

    @property
    def notice(self) -> str | None:
        """What who asked should know of how it ended."""
        return NOTICES.get(
            self.finish_reason or "", None if self.begun else "the endpoint's answer is empty; it is not stored"
        )

    def feed(self, event: Event) -> AnswerPart:
        """What an event adds. Raises AttemptFailed, and what an error in the midst of an answer means."""
        try:
            chunks = read(*event)
        except (Unreadable, RecursionError) as error:
            message = f"{self.who} answers with something that is not what was asked for ({self.clean(str(error))})"
            raise AttemptFailed(EngineFailed(message, refusal.ASK_AGAIN), again=False) from error
        pieces = [self._take(chunk) for chunk in chunks]
        return joined(pieces)

    def _take(self, chunk: AnswerChunk) -> AnswerPart:
        if chunk.error is not None:
            said = chunk.error._replace(words=self.clean(chunk.error.words))
            raise refusal.refused(self.who, refusal.status_in(said), said)
        self.done = self.done or chunk.done
        self.events += not chunk.done
        self.prompt_tokens = chunk.prompt_tokens or self.prompt_tokens
        self.cached_tokens = chunk.cached_tokens or self.cached_tokens
        if chunk.completion_tokens is not None:
            self._counted = chunk.completion_tokens
        return AnswerPart() if chunk.choice else self._add(chunk)  # nobody asked for a second answer

    def _add(self, chunk: AnswerChunk) -> AnswerPart:
        self.finish_reason = chunk.reason or self.finish_reason
        self.logprobs += chunk.scored
        if chunk.text or chunk.thought:
            self.begun = True
            self.parts += 1
            self.size += len(chunk.text) + len(chunk.thought)
        return self._split(self._text.feed(chunk.text), self._thought.feed(chunk.thought))

    def _split(self, text: str, thought: str) -> AnswerPart:
        if thought:
            self._splitter.is_told()
        if self.raw or not text:
            return AnswerPart(text, thought)
        before = self.had_lone
        answer, tagged = self._splitter.feed(text)
        return AnswerPart(answer, thought + tagged, self.had_lone and not before)

    def end(self) -> AnswerPart:
        """What was held back. Raises AttemptFailed where the answer was cut, or was none."""
        if self.finish_reason in FAILED:
            what = f"{self.who} broke off its answer (finish_reason {self.finish_reason})"
            raise AttemptFailed(EngineFailed(what, refusal.ASK_AGAIN))
        if self.finish_reason is None and not self.begun and (self.done or not self.events):
            raise Empty(EngineFailed(f"{self.who} sent a stream without an answer in it", refusal.ASK_AGAIN))
        if self.finish_reason is None and not self.done:
            raise AttemptFailed(EngineFailed(f"{self.who} ended its answer without a finish_reason", refusal.ASK_AGAIN))
        last = self._split(self._text.end(), self._thought.end())
        held, tagged = ("", "") if self.raw else self._splitter.end()
        return AnswerPart(last.text + held, last.reasoning + tagged, last.moved)


def joined(pieces: Sequence[AnswerPart]) -> AnswerPart:
    """As one; what came before a move goes with it."""
    moved = max((place for place, piece in enumerate(pieces) if piece.moved), default=0)
    before, after = pieces[:moved], pieces[moved:]
    thought = "".join(piece.reasoning + piece.text for piece in before) + "".join(piece.reasoning for piece in after)
    return AnswerPart("".join(piece.text for piece in after), thought, any(piece.moved for piece in pieces))
