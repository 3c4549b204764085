"""Reads an endpoint's answer as it arrives: text, reasoning, usage, and whether the answer is complete.

chunk.py knows the forms of an event. An incomplete answer never counts as complete.
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
"""Values of finish_reason that mean a failure."""
NOTICES = {
    "content_filter": "the endpoint's filter cut the answer off (finish_reason content_filter); it is not stored",
    "tool_calls": "the endpoint answered with tool calls, but the request has no tools (finish_reason tool_calls)",
    "function_call": "the endpoint answered with a function call, but the request has no functions (finish_reason function_call)",
}
"""finish_reason -> notice to the user."""


class EmptyAnswer(AttemptFailed):
    """A stream that ends without error or content. Some servers fail so, and report the error only in an answer that
    is not streamed.
    """


class AnswerPart(NamedTuple):
    text: str = ""
    reasoning: str = ""
    moved: bool = False
    """All text so far was reasoning."""


@dataclass
class AnswerReader:
    """Token counts are the endpoint's; if it reports none, the parts of the answer are counted. `clean` removes
    secrets from messages.

    `lone`, `guess`: see Splitter.
    """

    who: str
    raw: bool
    clean: Callable[[str], str] = str
    lone: bool = False
    guess: bool = False
    events: int = 0
    """Number of events with content."""
    begun: bool = False
    done: bool = False
    finish_reason: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    parts: int = 0
    size: int = 0
    """Number of characters so far."""
    logprobs: list[Scored] = field(default_factory=list)
    _counted: int | None = None
    _text: Letters = field(default_factory=Letters)
    _thought: Letters = field(default_factory=Letters)

    def __post_init__(self) -> None:
        self._splitter = Splitter(lone=self.lone, guess=self.guess)

    @property
    def had_lone(self) -> bool:
        """Whether a closing tag came without an opening one."""
        return self._splitter.moved

    @property
    def completion_tokens(self) -> int:
        return self.parts if self._counted is None else self._counted

    @property
    def notice(self) -> str | None:
        """A notice about the end of the answer."""
        return NOTICES.get(
            self.finish_reason or "", None if self.begun else "the endpoint's answer is empty and is not stored"
        )

    def feed(self, event: Event) -> AnswerPart:
        """The part of the answer in an event. Raises AttemptFailed, also for an error in the middle of an answer."""
        try:
            chunks = read(*event)
        except (Unreadable, RecursionError) as error:
            message = f"{self.who} sent an invalid answer ({self.clean(str(error))})"
            raise AttemptFailed(EngineFailed(message, refusal.ASK_AGAIN), again=False) from error
        pieces = [self._take(chunk) for chunk in chunks]
        return joined(pieces)

    def _take(self, chunk: AnswerChunk) -> AnswerPart:
        if chunk.error is not None:
            said = chunk.error._replace(words=self.clean(chunk.error.words))
            raise refusal.error_of(self.who, refusal.status_in(said), said)
        self.done = self.done or chunk.done
        self.events += not chunk.done
        self.prompt_tokens = chunk.prompt_tokens or self.prompt_tokens
        self.cached_tokens = chunk.cached_tokens or self.cached_tokens
        if chunk.completion_tokens is not None:
            self._counted = chunk.completion_tokens
        return AnswerPart() if chunk.choice else self._add(chunk)  # only one answer was requested

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
        """The text held back. Raises AttemptFailed if the answer is incomplete or missing."""
        if self.finish_reason in FAILED:
            what = f"{self.who} aborted its answer (finish_reason {self.finish_reason})"
            raise AttemptFailed(EngineFailed(what, refusal.ASK_AGAIN))
        if self.finish_reason is None and not self.begun and (self.done or not self.events):
            raise EmptyAnswer(EngineFailed(f"{self.who} sent a stream without an answer", refusal.ASK_AGAIN))
        if self.finish_reason is None and not self.done:
            raise AttemptFailed(EngineFailed(f"{self.who} ended its answer without a finish_reason", refusal.ASK_AGAIN))
        last = self._split(self._text.end(), self._thought.end())
        held, tagged = ("", "") if self.raw else self._splitter.end()
        return AnswerPart(last.text + held, last.reasoning + tagged, last.moved)


def joined(pieces: Sequence[AnswerPart]) -> AnswerPart:
    """All parts as one. What precedes a move becomes reasoning."""
    moved = max((place for place, piece in enumerate(pieces) if piece.moved), default=0)
    before, after = pieces[:moved], pieces[moved:]
    thought = "".join(piece.reasoning + piece.text for piece in before) + "".join(piece.reasoning for piece in after)
    return AnswerPart("".join(piece.text for piece in after), thought, any(piece.moved for piece in pieces))
