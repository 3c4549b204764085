"""The loop of an embedding engine: texts that arrive while a batch is computed form the next batch, without a timer.

It knows requests of several texts and their order. An Embedder turns texts into vectors.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmctld.engine.core.opening import Inbox, Opening
from llmctld.engine.cost.rate import Rate
from llmctld.engine.errors import EXITS, Refusal
from llmctld.engine.messages import (
    Close,
    Command,
    Drop,
    Embedded,
    Event,
    Flaw,
    Loaded,
    Recall,
    Recalled,
    Refused,
    Report,
    Step,
    Texts,
)  # fmt: skip

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """A text with its tokens (including those of its prompt), and the prompt's text if that is not part of `text`."""

    text: str
    tokens: Sequence[int]
    prompt: str = ""


class Embedder(Protocol):
    """A loaded embedding model, used by one thread."""

    @property
    def loaded(self) -> Loaded:
        """What the hub is told. `dimension`: of every vector. `context`: limit of one text. `slots`: texts per batch."""

    @property
    def batch_tokens(self) -> int:
        """Tokens per batch, at least `loaded.context`."""

    def read(self, text: str, prompt: str | None) -> Reading:
        """Raises Refusal for a text that would be cut, and for an unknown prompt."""

    def embed(self, readings: Sequence[Reading]) -> Vectors:
        """(texts, dimension). May raise anything; then each text is tried alone."""


@dataclass
class EmbedRequest:
    """One request. `next`: first text that is in no batch yet. `left`: texts without a vector or an error."""

    texts: Texts
    vectors: Vectors
    left: int
    next: int = 0
    tokens: int = 0
    flaws: list[Flaw] = field(default_factory=list)

    def fail(self, index: int, refusal: Refusal) -> None:
        self.flaws.append(Flaw(index, refusal.code, refusal.message, refusal.hint))
        self.left -= 1

    def succeed(self, index: int, vector: Vectors) -> None:
        self.vectors[index] = vector
        self.left -= 1


@dataclass(frozen=True)
class BatchRow:
    """One text of a batch, and where its vector goes."""

    work: EmbedRequest
    index: int
    reading: Reading


class EmbedLoop:
    """Owns the model: all commands come through `inbox`."""

    def __init__(self, embedder: Embedder, inbox: Inbox, send: Callable[[Report], None]) -> None:
        self._embedder, self._inbox, self._send = embedder, inbox, send
        self._works: dict[int, EmbedRequest] = {}
        """In order of turns: a request with a text in a batch moves to the end."""
        self._events: list[Event] = []
        self._rate = Rate()
        self._closing = False

    def run(self) -> None:
        while not self._closing:
            self.step()

    def step(self) -> None:
        """One batch. Waits for a command only if there is nothing to compute."""
        self._drain()
        batch = self._form()
        self._report(len(batch))
        if batch:
            self._compute(batch)
            self._rate.add(time.monotonic(), sum(len(place.reading.tokens) for place in batch))
        self._settle()
        self._report(0)

    # ---- commands ---------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        if not self._works:
            self._rate.clear()
            self._obey(self._inbox.get()[1])
        while True:
            try:
                self._obey(self._inbox.get_nowait()[1])
            except Empty:
                return

    def _obey(self, command: Command | Opening) -> None:
        if isinstance(command, Texts):
            self._take(command)
        elif isinstance(command, Drop):
            if self._works.pop(command.id, None) is not None:
                self._events.append(Refused(command.id, "cancelled", "cancelled"))
        elif isinstance(command, Recall):
            for work in [work for work in self._works.values() if not work.next]:
                del self._works[work.texts.id]
                self._events.append(Recalled(work.texts.id))
        elif isinstance(command, Close):
            self._closing = True
        else:
            refused = Refused(getattr(command, "id", 0), "invalid_request", "this model produces embeddings, not text")
            self._events.append(refused)

    def _take(self, texts: Texts) -> None:
        if texts.id in self._works:
            self._events.append(Refused(texts.id, "internal", f"request {texts.id} is already here"))
            return
        count = len(texts.texts)
        self._works[texts.id] = EmbedRequest(
            texts, np.full((count, self._embedder.loaded.dimension), np.nan, "<f4"), count
        )

    # ---- batches ----------------------------------------------------------------------------------------------------

    def _form(self) -> list[BatchRow]:
        """One text per request in turn, as many as fit, so that one text does not wait for another request's thousand."""
        batch: list[BatchRow] = []
        room = self._embedder.batch_tokens
        while len(batch) < self._embedder.loaded.slots:
            work = next((work for work in self._works.values() if work.next < len(work.texts.texts)), None)
            if work is None:
                break
            reading = self._read(work)
            if reading is not None:
                if len(reading.tokens) > room:
                    break  # it is the first of the next batch
                room -= len(reading.tokens)
                batch.append(BatchRow(work, work.next, reading))
                work.tokens += len(reading.tokens)
            work.next += 1
            self._works[work.texts.id] = self._works.pop(work.texts.id)
        return batch

    def _read(self, work: EmbedRequest) -> Reading | None:
        """The text's Reading; None and an error if it cannot be read."""
        text = work.texts.texts[work.next]
        try:
            if not text.strip():
                raise Refusal("invalid_request", "the text is empty", "Omit it.")
            return self._embedder.read(text, work.texts.prompt)
        except Refusal as refusal:
            work.fail(work.next, refusal)
        except EXITS:
            raise
        except BaseException as error:  # noqa: BLE001 - a bug met by one text must not take the others down
            traceback.print_exc()
            work.fail(work.next, Refusal("internal", f"the text cannot be read: {error!r}"))
        return None

    def _compute(self, batch: list[BatchRow]) -> None:
        """Compute the batch; on an error each text alone, so that only the one at fault fails.

        A text that gives NaN spoils the others in its batch, since a weight of 0 times NaN is NaN.
        """
        refusal = None
        try:
            vectors = self._embedder.embed([place.reading for place in batch])
            if not np.isfinite(vectors).all():
                message = "the model computed an invalid number (NaN or infinity) for this text"
                refusal = Refusal("engine_failed", message, "Its file may be damaged.")
        except EXITS:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            traceback.print_exc()
            refusal = Refusal("engine_failed", f"the model failed on this text: {error!r}")
        if refusal is None:
            for place, vector in zip(batch, vectors, strict=True):
                place.work.succeed(place.index, vector)
        elif len(batch) == 1:
            batch[0].work.fail(batch[0].index, refusal)
        else:
            for place in batch:
                self._compute([place])

    def _settle(self) -> None:
        for work in [work for work in self._works.values() if not work.left]:
            id = work.texts.id
            del self._works[id]
            flaws = sorted(work.flaws, key=lambda flaw: flaw.index)
            self._events.append(Embedded(id=id, vectors=work.vectors.tobytes(), tokens=work.tokens, flaws=flaws))

    def _report(self, busy: int) -> None:
        waiting = sum(len(work.texts.texts) - work.next for work in self._works.values())
        speed = self._rate.per_second()
        self._send(Step(events=self._events, busy=busy, waiting=waiting, tokens_per_second=speed))
        self._events = []


def unknown_prompt(given: str, known: Sequence[str]) -> Refusal:
    there = f"There are {', '.join(known)}." if known else "It has none; define them in `models.NAME.prompts`."
    return Refusal("invalid_request", f"the model has no prompt {given!r}", there)


def too_long(tokens: int, most: int) -> Refusal:
    """Part of a text is another text, so nothing is cut silently."""
    message = f"the text has {tokens} tokens, but this model accepts at most {most}"
    return Refusal("context_overflow", message, "Shorten the text, or split it.")
