"""What flows through the pipeline: a Call goes in, Events come out; a Stage is a function from one to the other.

A Stage yields any number of Delta and Notice, then exactly one Answer (or Answers, of several samples), or raises an
LlmctlError. A Link puts a stage around the next one.
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import msgspec

from llmctl.config import ModelEntry
from llmctl.wire import Answer, Answers, CacheUse, Delta, Explained, Generate, Notice, Sampled, Timings, Usage
from llmctld.cache.level import LeftOut
from llmctld.call.origin import Origin
from llmctld.models.engines.ticket import ChatMessage

Event = Delta | Notice | Answer | Answers
Stage = Callable[["Call"], AsyncGenerator[Event, None]]
Link = Callable[[Stage], Stage]


class GaveWay(Exception):
    """A request of the hub's own was cancelled: a user's request came first, or the hub ends."""


@dataclass
class Work:
    """What is being generated, shared by all calls that wait for the same answer; `state` is a word for Progress."""

    state: str = "working"
    text: str = ""
    reasoning: str = ""
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    logprobs: list[Sampled] | None = None
    left_out: LeftOut | None = None
    """Of the prompt, with `--overflow`."""
    stored: bool = False
    """Whether a level of the cache took the answer."""


@dataclass
class Call:
    """A request inside the pipeline. Times are time.monotonic() seconds; what a stage finds out it writes here."""

    id: str
    request: Generate
    origin: Origin
    arrived: float = field(default_factory=time.monotonic)
    at: float = field(default_factory=time.time)
    """Seconds since 1970."""
    may_load: bool = True
    """Whether a model that is not loaded is loaded for it."""
    supplied: str | None = None
    """The answer's text, where the user has it already and wants it stored."""
    number: int = 0
    """Of its row in the history."""
    model: ModelEntry | None = None
    prompt: str | None = None
    """The text of the user's turn, as preprocess put it together."""
    typed: str | None = None
    """What was typed, where files or stdin came with it: the question, and they are what it is about."""
    system: str | None = None
    """The system prompt that is in force, its places filled, whether it was given or holds since an earlier turn."""
    messages: list[ChatMessage] = field(default_factory=list)
    key: str | None = None
    content: str | None = None
    """What the model's files were when the key was made."""
    keep: bool = False
    """Whether the answer may be stored, and a stored one serve."""
    hit: str | None = None
    computed_by: str | None = None
    """The id of the equal request that computed the answer, where `hit` is "flight"."""
    saved_ms: float | None = None
    """Milliseconds of computing that a stored or joined answer made unnecessary."""
    work: Work = field(default_factory=Work)
    index: int = 0
    samples: list["Call"] = field(default_factory=list)
    """A call for each of several samples; the first shares this one's work."""
    outcome: Answer | None = None
    """Of a sample that has come to its end."""
    explained: list[Explained] = field(default_factory=list)
    cleanup: AsyncExitStack = field(default_factory=AsyncExitStack)
    """What inner stages hold until the outcome is written down; closed by record."""

    followers: list[Callable[[Origin], None]] = field(default_factory=list)
    """Called with the new origin when the computation goes over to another request."""

    @property
    def conversation(self) -> str | None:
        return self.origin.conversation

    @conversation.setter
    def conversation(self, name: str | None) -> None:
        self.origin = msgspec.structs.replace(self.origin, conversation=name)

    def go_over_to(self, origin: Origin) -> None:
        """From now on the computation belongs to `origin`."""
        if origin != self.origin:
            self.origin = origin
            for follow in self.followers:
                follow(origin)

    @property
    def entry(self) -> ModelEntry:
        """The model, for the stages behind the one that chose it."""
        assert self.model is not None
        return self.model

    def explain(self, stage: str, text: str, similarity: float | None = None, refused: str | None = None) -> None:
        """For `--explain`; nothing where it was not asked for."""
        if self.request.explain:
            self.explained.append(Explained(stage, text, similarity, refused))

    def elapsed_ms(self) -> float:
        return (time.monotonic() - self.arrived) * 1e3

    def partial(self, finish_reason: str) -> Answer:
        """What there is when the request ends early. An extraction has no part: half a code block is none."""
        work = self.work
        text = "" if self.request.extract else work.text
        answer = self.answer(text, work.reasoning or None, finish_reason, work.usage, work.timings)
        answer.logprobs = work.logprobs
        return answer

    def partials(self, finish_reason: str) -> list[Answer]:
        """What there is of each of several samples; [] where one answer was asked for."""
        return [sample.outcome or sample.partial(finish_reason) for sample in self.samples]

    def answer(
        self,
        text: str,
        reasoning: str | None,
        finish_reason: str,
        usage: Usage,
        timings: Timings,
    ) -> Answer:
        timings.total_ms = round(self.elapsed_ms(), 3)
        return Answer(
            id=self.id,
            index=self.index,
            model=self.model.name if self.model else self.request.model or self.request.default_model or "",
            text=text,
            reasoning=reasoning,
            conversation=self.conversation,
            finish_reason=finish_reason,
            user=self.request.user,
            usage=usage,
            timings=timings,
            cache=CacheUse(hit=self.hit, key=self.key),
        )


def compose(links: Sequence[Link], last: Stage) -> Stage:
    """The links around `last`, outermost first."""
    for link in reversed(links):
        last = link(last)
    return last
