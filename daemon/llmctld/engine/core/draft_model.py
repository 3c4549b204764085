"""A second, smaller model that drafts tokens: its own KV streams, one token per call.

draft_policy.py decides whether asking it pays. Its tokens are proposals only, so an error here cannot change an answer.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from llmctld.engine.cost.price import FixedStepTime
from llmctld.engine.cost.step_cost import passes
from llmctld.engine.streams.sequence import Chunk, Sequence

FLOOR = 0.3
"""Minimum likelihood of a drafted token: less likely ones are hardly ever right."""

Logits = NDArray[np.float32]


class Rows(Protocol):
    """The computing model. Streams are numbered from 0; positions in a stream start at 0."""

    def logits(self, chunks: list[Chunk]) -> list[Logits | None]:
        """Compute the chunks (in ascending stream order); logits for each that reaches the end of its sequence."""

    def cut(self, stream: int, keep: int) -> bool:
        """Cut the stream to its first `keep` tokens. False if they are not all there: then the stream is empty."""

    def holds(self, stream: int, tokens: int) -> bool:
        """Whether the stream holds exactly `tokens` tokens."""


class DraftRequest(NamedTuple):
    """Request for up to `most` (at least 1) tokens after `tokens`."""

    tokens: list[int]
    most: int


class Proposal(NamedTuple):
    """Drafted tokens with the draft model's likelihoods. `doubted`: it stopped because no token was likely enough."""

    tokens: list[int]
    sure: list[float]
    doubted: bool


class CallTime(NamedTuple):
    """Time of one call: passes through the weights, rows, milliseconds."""

    passes: int
    rows: int
    ms: float


@dataclass
class DraftStream:
    """The stream of a running request, and the number of its tokens that were last known to be in it."""

    stream: int
    agreed: int


class Drafting:
    """A draft in progress. `text`: the request's tokens, then the drafted ones."""

    def __init__(self, ask: DraftRequest, stream: int, agreed: int) -> None:
        self.stream = stream
        self.text = Sequence(0, list(ask.tokens), len(ask.tokens), ask.most, position=agreed)
        self.sure: list[float] = []
        self.doubted = False

    def chunk(self, most: int) -> Chunk:
        return Chunk(self.text, self.stream, self.text.position, min(self.text.pending, most))

    def goes_on(self, said: tuple[int, float] | None, floor: float) -> bool:
        """Whether to draft another token after this one with this likelihood. None: the text is not computed yet."""
        if said is None:
            return False
        token, sure = said
        if not sure >= floor:  # also false for NaN
            self.doubted = True
            return False
        self.text.add(token, 0.0)
        self.sure.append(sure)
        return not self.text.is_full

    @property
    def proposal(self) -> Proposal:
        return Proposal(self.text.tokens[self.text.prompt_tokens :], self.sure, self.doubted)


class DraftModel:
    """`streams`: at least the number of requests that run together. `batch`: most tokens per call. `words`: number of tokens that
    both models share.

    `took` collects the time of calls until it is cleared; with `price`, fixed times instead.
    """

    def __init__(self, model: Rows, streams: int, batch: int, words: int, floor: float = FLOOR) -> None:
        self._model, self._batch, self._words, self._floor = model, batch, words, floor
        self._held: list[list[int]] = [[] for _ in range(streams)]
        self._seats: dict[int, DraftStream] = {}
        self.took: list[CallTime] = []
        self.price: FixedStepTime | None = None
        self._compute([Chunk(Sequence(0, [0], 1, 0), 0, 0, 1)])  # warm up: the first call is the slowest
        self._model.cut(0, 0)
        self.took.clear()

    def seat(self, running: dict[int, list[int]]) -> None:
        """Assign a stream to each running request: the one that holds most of its tokens."""
        self._seats = {id: seat for id, seat in self._seats.items() if id in running}
        for id in [id for id in running if id not in self._seats]:
            taken = {seat.stream for seat in self._seats.values()}
            agreed = {
                stream: agreement(held, running[id]) for stream, held in enumerate(self._held) if stream not in taken
            }
            best = max(agreed, key=lambda stream: (agreed[stream], -len(self._held[stream])))
            self._seats[id] = DraftStream(best, agreed[best])

    def tokens_missing(self, id: int, length: int) -> int:
        """Approximate number of the request's `length` tokens to compute before drafting."""
        return max(1, length - self._seats[id].agreed)

    def propose(self, asks: dict[int, DraftRequest]) -> dict[int, Proposal]:
        """Draft tokens for all requests together.

        A request that is far behind computes a part of its text instead, so that the others do not wait.
        """
        drafts = {id: self._open(self._seats[id], ask) for id, ask in asks.items()}
        going = sorted(drafts.values(), key=lambda draft: draft.stream)
        share = self._batch // max(len(going), 1)
        while going:
            said = self._compute([draft.chunk(share) for draft in going])
            going = [draft for draft, each in zip(going, said, strict=True) if draft.goes_on(each, self._floor)]
        for id, draft in drafts.items():
            self._held[draft.stream] = draft.text.tokens[: draft.text.position]
            self._seats[id].agreed = min(draft.text.position, draft.text.prompt_tokens)
        return {id: draft.proposal for id, draft in drafts.items()}

    def _open(self, seat: DraftStream, ask: DraftRequest) -> Drafting:
        """Cut the stream to the prefix it shares with the request's tokens."""
        keep = min(agreement(self._held[seat.stream], ask.tokens), len(ask.tokens) - 1)
        if not self._model.cut(seat.stream, keep):
            keep = 0
        return Drafting(ask, seat.stream, keep)

    def _compute(self, chunks: list[Chunk]) -> list[tuple[int, float] | None]:
        begin = time.monotonic()
        rows = self._model.logits(chunks)
        said = [None if row is None else likeliest(row[: self._words]) for row in rows]
        ms = (time.monotonic() - begin) * 1e3
        counts = {chunk.stream: chunk.count for chunk in chunks}
        often, all_ = passes(counts), sum(counts.values())
        self.took.append(CallTime(often, all_, self.price.ms(often, all_) if self.price else ms))
        for chunk in chunks:
            chunk.sequence.position += chunk.count
        return said

    def check(self) -> None:
        """Verify that no two requests share a stream, and that each stream holds the expected number of tokens."""
        taken = [seat.stream for seat in self._seats.values()]
        if len(set(taken)) < len(taken):
            raise RuntimeError(f"draft model: two requests in one stream of {taken}")
        for stream, held in enumerate(self._held):
            if not self._model.holds(stream, len(held)):
                raise RuntimeError(f"draft model: stream {stream} does not hold the {len(held)} tokens that it should")


def likeliest(row: Logits) -> tuple[int, float]:
    """The token with the largest logit, and its softmax probability; NaN if any logit is NaN."""
    token = int(row.argmax())
    return token, float(1 / np.exp(row - row[token]).sum())


def agreement(first: list[int], second: list[int]) -> int:
    """Length of the common prefix. Compares slices, which is faster than building arrays from lists."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
