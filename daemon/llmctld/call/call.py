"""The types of the pipeline: a Stage takes a Call and yields Events; a Link wraps one Stage around the next.

A Stage yields any number of Delta and Notice, then exactly one Answer (or Answers, for several samples), or raises an
LlmctlError.
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import msgspec

from llmctl.config import ModelEntry
from llmctl.wire import Answer, Answers, CacheUse, Delta, Explained, Generate, Notice, Sampled, Timings, TokenUsage
from llmctld.cache.level import LeftOut
from llmctld.call.origin import Origin
from llmctld.models.engines.ticket import ChatMessage
from llmctld.money.pricing.prices import UNPRICED, Price, Use, bill

Event = Delta | Notice | Answer | Answers
Stage = Callable[["Call"], AsyncGenerator[Event, None]]
Link = Callable[[Stage], Stage]


class GaveWay(Exception):
    """A request of the hub's own was cancelled: a user's request came first, or the hub ends."""


@dataclass
class Generation:
    """The answer as it is generated, shared by all calls that wait for it. `state`: the word that Progress reports."""

    state: str = "working"
    text: str = ""
    reasoning: str = ""
    usage: TokenUsage = field(default_factory=TokenUsage)
    timings: Timings = field(default_factory=Timings)
    logprobs: list[Sampled] | None = None
    joules: float | None = None
    """Its share of the energy that the machine used meanwhile; None where that is not measured."""
    left_out: LeftOut | None = None
    """The part of the prompt that `--overflow` removed."""
    stored: bool = False
    """Whether a level of the cache took the answer."""


@dataclass
class Call:
    """A request inside the pipeline, with what the stages have found out so far. Times are time.monotonic() seconds."""

    id: str
    request: Generate
    origin: Origin
    arrived: float = field(default_factory=time.monotonic)
    at: float = field(default_factory=time.time)
    """Seconds since 1970."""
    may_load: bool = True
    """Whether the model may be loaded for it."""
    supplied: str | None = None
    """The text of an answer that the user brings, to be stored (`cache warm`)."""
    number: int = 0
    """Number of its row in the history."""
    model: ModelEntry | None = None
    price: Price = UNPRICED
    """The prices of the model."""
    reserved: int | None = None
    """Units of money (money/pricing/amounts.py) that were reserved for this request."""
    prompt: str | None = None
    """The text of the user's turn, as preprocess composed it."""
    typed: str | None = None
    """The typed question, where files or stdin accompany it."""
    system: str | None = None
    """The system prompt in force, parameters filled in: given with this turn, or kept from an earlier one."""
    messages: list[ChatMessage] = field(default_factory=list)
    key: str | None = None
    content: str | None = None
    """Identifies the contents of the model's files at the time the key was made."""
    keep: bool = False
    """Whether the answer is stored, and may be served from the cache."""
    hit: str | None = None
    computed_by: str | None = None
    """The id of the equal request that computed the answer, where `hit` is "flight"."""
    saved_ms: float | None = None
    """Milliseconds of computing that a stored or joined answer made unnecessary."""
    work: Generation = field(default_factory=Generation)
    index: int = 0
    samples: list["Call"] = field(default_factory=list)
    """One call per sample, with `-n`; the first shares this call's `work`."""
    outcome: Answer | None = None
    """The answer of a sample that has ended."""
    explained: list[Explained] = field(default_factory=list)
    cleanup: AsyncExitStack = field(default_factory=AsyncExitStack)
    """Resources that inner stages hold until the outcome is recorded; the stage `record` closes it."""

    followers: list[Callable[[Origin], None]] = field(default_factory=list)
    """Called with the new origin when the computation goes over to another request, or gets another priority."""

    @property
    def conversation(self) -> str | None:
        return self.origin.conversation

    @conversation.setter
    def conversation(self, name: str | None) -> None:
        self.origin = msgspec.structs.replace(self.origin, conversation=name)

    def hand_over_to(self, origin: Origin) -> None:
        """From now on the computation belongs to `origin`."""
        if origin != self.origin:
            self.origin = origin
            for follow in self.followers:
                follow(origin)

    @property
    def entry(self) -> ModelEntry:
        """The model, for the stages after `preprocess`, which chooses it."""
        assert self.model is not None
        return self.model

    def explain(self, stage: str, text: str, similarity: float | None = None, refused: str | None = None) -> None:
        """Adds a line to the report of `--explain`, if it was requested."""
        if self.request.explain:
            self.explained.append(Explained(stage, text, similarity, refused))

    def elapsed_ms(self) -> float:
        return (time.monotonic() - self.arrived) * 1e3

    @property
    def used(self) -> Use:
        """What its computation used so far."""
        return _use(self.work.usage, self.work.timings, self.work.joules)

    def partial(self, finish_reason: str) -> Answer:
        """The answer so far, of a request that ends early. Without text for `-x`: half a code block is useless."""
        work = self.work
        text = "" if self.request.extract else work.text
        answer = self.answer(text, work.reasoning or None, finish_reason, work.usage, work.timings)
        answer.logprobs = work.logprobs
        return answer

    def partials(self, finish_reason: str) -> list[Answer]:
        """The samples so far, of a request that ends early; [] where only one answer was requested."""
        return [sample.outcome or sample.partial(finish_reason) for sample in self.samples]

    def answer(
        self,
        text: str,
        reasoning: str | None,
        finish_reason: str,
        usage: TokenUsage,
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
            cost=bill(self.price, _use(usage, timings, self.work.joules), self.reserved),
        )


def _use(usage: TokenUsage, timings: Timings, joules: float | None) -> Use:
    return Use(usage, (timings.prefill_ms + timings.decode_ms) / 1e3, joules)


def compose(links: Sequence[Link], last: Stage) -> Stage:
    """The stage that results from wrapping `links`, outermost first, around `last`."""
    for link in reversed(links):
        last = link(last)
    return last
