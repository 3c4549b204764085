"""What a second, smaller model thinks comes next: its own KV streams, and drafts that it makes token by token.

It knows tokens and what its streams hold of them; whether asking it pays is for asking.py to say. What it says is only
proposed: nothing that goes wrong here can change an answer.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from llmctld.engine.cost.price import Price
from llmctld.engine.cost.step_cost import passes
from llmctld.engine.streams.sequence import Chunk, Sequence

FLOOR = 0.3
"""It says no token that it thinks less likely than this: what it doubts itself is hardly ever right."""

Logits = NDArray[np.float32]


class Rows(Protocol):
    """The model that computes. Its streams are numbered from 0, their tokens have positions from 0 on."""

    def logits(self, chunks: list[Chunk]) -> list[Logits | None]:
        """Compute the chunks (ascending streams); for each that reaches the end of its sequence, what may follow."""

    def cut(self, stream: int, keep: int) -> bool:
        """The stream has exactly its first `keep` tokens. False when they are not (all) there: then it is empty."""

    def holds(self, stream: int, tokens: int) -> bool:
        """Whether the stream has exactly so many tokens."""


class Ask(NamedTuple):
    """What may follow `tokens`, `most` tokens of it at most, at least one."""

    tokens: list[int]
    most: int


class Proposal(NamedTuple):
    """Tokens that may come next, and how likely the draft model thinks each. `doubted`: it ended for want of a likely one."""

    tokens: list[int]
    sure: list[float]
    doubted: bool


class Took(NamedTuple):
    """What one call of the model took: how often it read the weights, for how many rows."""

    passes: int
    rows: int
    ms: float


@dataclass
class Seat:
    """The stream of a running request, and how many of its tokens were last known to lie there."""

    stream: int
    agreed: int


class Draft:
    """One draft in the making. `text` is the request's tokens as far as they go, then what was drafted."""

    def __init__(self, ask: Ask, stream: int, agreed: int) -> None:
        self.stream = stream
        self.text = Sequence(0, list(ask.tokens), len(ask.tokens), ask.most, position=agreed)
        self.sure: list[float] = []
        self.doubted = False

    def chunk(self, most: int) -> Chunk:
        return Chunk(self.text, self.stream, self.text.position, min(self.text.pending, most))

    def goes_on(self, said: tuple[int, float] | None, floor: float) -> bool:
        """Whether it is to say one more, after it `said` this token with this likelihood; None: its text is not read yet."""
        if said is None:
            return False
        token, sure = said
        if not sure >= floor:  # NaN is no likelihood either
            self.doubted = True
            return False
        self.text.add(token, 0.0)
        self.sure.append(sure)
        return not self.text.is_full

    @property
    def proposal(self) -> Proposal:
        return Proposal(self.text.tokens[self.text.prompt_tokens :], self.sure, self.doubted)


class DraftModel:
    """`streams`: of its memory, at least as many as requests run together. `batch`: tokens that it computes at once, at
    most. `words`: the tokens that the model it drafts for has too.

    `took` is what its calls took since that was last cleared; with a `price`, what they count as.
    """

    def __init__(self, model: Rows, streams: int, batch: int, words: int, floor: float = FLOOR) -> None:
        self._model, self._batch, self._words, self._floor = model, batch, words, floor
        self._held: list[list[int]] = [[] for _ in range(streams)]
        self._seats: dict[int, Seat] = {}
        self.took: list[Took] = []
        self.price: Price | None = None
        self._compute(
            [Chunk(Sequence(0, [0], 1, 0), 0, 0, 1)]
        )  # the first call of all takes longest: nobody pays for it
        self._model.cut(0, 0)
        self.took.clear()

    def seat(self, running: dict[int, list[int]]) -> None:
        """These requests run, with these tokens: each has a stream of its own, that which holds most of its text."""
        self._seats = {id: seat for id, seat in self._seats.items() if id in running}
        for id in [id for id in running if id not in self._seats]:
            taken = {seat.stream for seat in self._seats.values()}
            agreed = {
                stream: agreement(held, running[id]) for stream, held in enumerate(self._held) if stream not in taken
            }
            best = max(agreed, key=lambda stream: (agreed[stream], -len(self._held[stream])))
            self._seats[id] = Seat(best, agreed[best])

    def behind(self, id: int, length: int) -> int:
        """How many of the request's `length` tokens it has to compute before it can say what follows, about."""
        return max(1, length - self._seats[id].agreed)

    def propose(self, asks: dict[int, Ask]) -> dict[int, Proposal]:
        """What may follow each request's tokens, all of them computed together.

        One that is far behind reads a part of its text instead, so that nobody waits long for a token.
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

    def _open(self, seat: Seat, ask: Ask) -> Draft:
        """The stream is cut to what it has in common with the tokens, whatever happened to either since it last was."""
        keep = min(agreement(self._held[seat.stream], ask.tokens), len(ask.tokens) - 1)
        if not self._model.cut(seat.stream, keep):
            keep = 0
        return Draft(ask, seat.stream, keep)

    def _compute(self, chunks: list[Chunk]) -> list[tuple[int, float] | None]:
        begin = time.monotonic()
        rows = self._model.logits(chunks)
        said = [None if row is None else likeliest(row[: self._words]) for row in rows]
        ms = (time.monotonic() - begin) * 1e3
        counts = {chunk.stream: chunk.count for chunk in chunks}
        often, all_ = passes(counts), sum(counts.values())
        self.took.append(Took(often, all_, self.price.ms(often, all_) if self.price else ms))
        for chunk in chunks:
            chunk.sequence.position += chunk.count
        return said

    def check(self) -> None:
        """Prove that no two requests share a stream, and that each stream holds as many tokens as it is thought to."""
        taken = [seat.stream for seat in self._seats.values()]
        if len(set(taken)) < len(taken):
            raise RuntimeError(f"draft model: two requests in one stream of {taken}")
        for stream, held in enumerate(self._held):
            if not self._model.holds(stream, len(held)):
                raise RuntimeError(f"draft model: stream {stream} does not hold the {len(held)} tokens that it should")


def likeliest(row: Logits) -> tuple[int, float]:
    """The token with the largest logit, and its share in the softmax; NaN where one of them is."""
    token = int(row.argmax())
    return token, float(1 / np.exp(row - row[token]).sum())


def agreement(first: list[int], second: list[int]) -> int:
    """How many leading tokens are equal: slices are compared, since making arrays of lists takes longer."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
