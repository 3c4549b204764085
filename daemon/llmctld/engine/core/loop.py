"""The loop of an engine: drain commands, admit, build the batch, decode, sample, report.

It knows the order of these steps. The model is behind backend.TextModel, the hub behind `send`.
"""

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from llmctld.engine.answer.text import NewText, Text
from llmctld.engine.core.backend import TextModel, room
from llmctld.engine.core.kv import Kv
from llmctld.engine.core.opening import Inbox as Inbox
from llmctld.engine.core.opening import Opening, begin
from llmctld.engine.core.scheduler import Scheduler
from llmctld.engine.cost.pace import Pace
from llmctld.engine.cost.price import FixedStepTime
from llmctld.engine.cost.rate import Rate
from llmctld.engine.cost.step_cost import passes
from llmctld.engine.drafts.speculation import Drafts
from llmctld.engine.errors import EXITS, Refusal
from llmctld.engine.messages import (
    Close,
    Command,
    Drop,
    Event,
    Finished,
    Move,
    Piece,
    Recall,
    Recalled,
    Refused,
    Remark,
    Report,
    Step,
    Submit,
)
from llmctld.engine.prompt.overflow import fitted
from llmctld.engine.streams.saved import SavedStates
from llmctld.engine.streams.sequence import Chunk, Sequence

TELL_S = 0.5
"""Report interval for text that no client is waiting to see: the hub stores generated text once a second."""
SHOW_S = 0.03
"""Shortest time between two pieces of a stream: readers see no difference, and a crash loses no more text than that. Each piece
wakes four threads of hub and client, which take 0.6 ms of processor time from the threads that compute the next token."""


class Loop:
    """Owns the model: all commands come through `inbox`. `price`: fixed step times instead of measured ones. `when_idle`: does a
    piece of work in a pause after the first answer; returns whether some is left."""

    def __init__(
        self, model: TextModel, batch: int, inbox: Inbox, send: Callable[[Report], None],
        saved: SavedStates | None = None, pace: Pace | None = None, price: FixedStepTime | None = None,
        when_idle: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self._price, self._when_idle = price, when_idle
        self.pace = Pace(model.stream_bytes) if pace is None else pace
        self.scheduler = Scheduler(
            model.loaded.slots, batch, model.streams, model.reuses, self.pace, saved, model.mixes, model.draft_model,
            model.window, model.least,
        )  # fmt: skip
        if price and model.draft_model:
            model.draft_model.price = price.of_draft
        self._kv = Kv(model, self.scheduler)
        self._model = model
        self._prices_steps = model.drafts or model.draft_model is not None or price is not None
        """Whether the time of generating steps decides anything: how many drafted tokens a step computes."""
        self._inbox = inbox
        self._send = send
        self._events: list[Event] = []
        self._untold: dict[int, Sequence] = {}
        """Running sequences whose text is not all reported yet."""
        self._openings: dict[int, Opening] = {}
        """Requests whose prompt is being made."""
        self._remarked: set[str] = set()
        self._rate = Rate()
        self._told, self._told_at = (0, 0), time.monotonic()
        self._closing = self._worked = False

    def run(self) -> None:
        """Run until told to close."""
        while not self._closing:
            self.step()
        self.save_states()

    def save_states(self) -> None:
        """Save states that are worth it."""
        self._kv.do(self.scheduler.final_saves())
        self.scheduler.saved.close()

    def step(self) -> None:
        """One round. Waits for a command only if there is nothing to compute."""
        self._drain()
        self._admit()
        chunks = self.scheduler.plan()
        self._show(chunks)
        self._report()
        if not chunks:
            return
        begin = time.monotonic()
        outcomes = self._model.decode(chunks)
        now = time.monotonic()
        self._worked = True
        self._learn(chunks, (now - begin) * 1e3)
        for chunk, outcome in zip(chunks, outcomes, strict=True):
            try:
                self._settle(chunk, outcome, now)
            except EXITS:
                raise
            except BaseException as error:  # noqa: BLE001 - a bug met by one request must not take the others down
                traceback.print_exc()
                self._fail(chunk.sequence, Refusal("internal", f"request {chunk.sequence.id}: {error!r}"))
        self._kv.do(self.scheduler.marked())
        self._rate.add(now, sum(len(outcome) for outcome in outcomes if isinstance(outcome, list)))
        self._report()

    def _learn(self, chunks: list[Chunk], ms: float) -> None:
        """Record the time of a step, of a prompt or of generating sequences."""
        generates = all(chunk.count == 1 for chunk in chunks)
        if generates:
            self.pace.generated()
            if not self._prices_steps:
                return
        rows = {chunk.stream: chunk.count + len(chunk.draft) for chunk in chunks}
        if self._price:
            ms = self._price.ms(passes(rows), sum(rows.values()))
        if generates:
            self.scheduler.batcher.speculation.measured(rows, ms)
        elif not self._model.mixes:
            self.pace.prompted(chunks[0].count, ms)

    def _drain(self) -> None:
        if self.scheduler.idle:
            self.scheduler.check()
            while self._worked and self._inbox.empty() and self._when_idle():
                pass
            self._obey(*self._inbox.get())
        while not self._inbox.empty():  # no other thread reads from it
            self._obey(*self._inbox.get())

    @property
    def idle(self) -> bool:
        """Whether there is no request."""
        return self.scheduler.idle and not self._openings

    def _obey(self, arrived: float, command: Command | Opening) -> None:
        if isinstance(command, Submit):
            self._open(arrived, command)
        elif isinstance(command, Opening):
            self._make_prompt(command)
        elif isinstance(command, Drop) and command.id in self._openings:
            self._events.append(self._openings.pop(command.id).drop())
        elif isinstance(command, Drop):
            sequence = self.scheduler.cancel(command.id)
            if sequence is not None:
                self._close(sequence, "cancelled", NewText(), time.monotonic())
        elif isinstance(command, Move) and command.id in self._openings:
            submit = self._openings[command.id].submit
            submit.user, submit.priority = command.user, command.priority
        elif isinstance(command, Move):
            self.scheduler.move(command.id, command.user, command.priority)
        elif isinstance(command, Recall):
            for id in self.scheduler.recall():
                self._model.close(id)
                self._events.append(Recalled(id))
        elif isinstance(command, Close):
            self._closing = True
        else:
            raise RuntimeError("a second load: an engine holds one model for its whole life")

    def _open(self, arrived: float, submit: Submit) -> None:
        """Queue a request once its prompt is made. The others go on if that takes long."""
        make = partial(fitted, self._model.encode, submit, self._model.loaded.context)
        opening = begin(arrived, submit, make, self._inbox)
        if submit.id in self._openings:
            self._refused(submit.id, Refusal("internal", f"request {submit.id} is already here"))
            return
        self._openings[submit.id] = opening
        self._make_prompt(opening)

    def _make_prompt(self, opening: Opening) -> None:
        if opening.prompt.resume() and not opening.dropped:
            del self._openings[opening.submit.id]
            self._queue(opening)

    def _queue(self, opening: Opening) -> None:
        """An error ends this request only."""
        submit = opening.submit
        try:
            self.scheduler.expect(submit.id)
            submit, prompt, shortened = opening.prompt.result()
            limit = room(prompt.tokens, self._model.loaded.context, submit.max_tokens)
            held = submit.schema is not None or submit.grammar is not None
            # with a schema or grammar there is no reasoning
            text = Text(submit.stop, None if held else prompt.opened, prompt.known)
            self._model.open(submit, prompt)
            if shortened is not None:
                self._events.append(Remark(submit.id, "", shortened))
            self.scheduler.submit(
                Sequence(
                    submit.id, prompt.tokens, len(prompt.tokens), limit, text=text, user=submit.user,
                    every_s=SHOW_S if submit.streams else TELL_S, priority=submit.priority, adapters=submit.adapters,
                    alone=submit.repro, submitted=opening.arrived,
                    drafts=Drafts() if self._model.drafts and not submit.repro else None,
                )
            )  # fmt: skip
            self._remark(submit.id, prompt.remarks)
        except Refusal as refusal:
            self._refused(submit.id, refusal)
        except EXITS:
            raise
        except BaseException as error:  # noqa: BLE001 - a bug met by one request must not take the others down
            traceback.print_exc()
            self._events.append(Refused(submit.id, "internal", f"request {submit.id}: {error!r}"))

    def _remark(self, id: int, remarks: list[str]) -> None:
        """Send each remark once while the model is loaded."""
        for text in remarks:
            if text not in self._remarked:
                self._remarked.add(text)
                self._events.append(Remark(id, text))

    def _admit(self) -> None:
        before = time.monotonic()
        while actions := self.scheduler.admit():
            self._events += self._kv.do(actions)
        for sequence in self.scheduler.running.values():
            if sequence.admitted is None:
                sequence.admitted = before

    def _settle(self, chunk: Chunk, outcome: list[int] | Refusal, now: float) -> None:
        sequence = chunk.sequence
        if isinstance(outcome, Refusal):
            self._fail(sequence, outcome)
            return
        if not chunk.samples:
            self.scheduler.advance(chunk)
        sequence.drafted += len(chunk.draft)
        for accepted, token in enumerate(outcome):
            self.scheduler.advance(chunk, accepted)
            sequence.accepted += accepted > 0
            if not self._gains(sequence, token, now):
                if accepted + 1 < len(outcome):
                    self._model.cut(chunk.stream, sequence.position)  # it was to say more
                return
        self._untold[sequence.id] = sequence
        if now - sequence.told >= sequence.every_s:
            self._tell(sequence, now)

    def _gains(self, sequence: Sequence, token: int, now: float) -> bool:
        """Record a token; False if it was the last."""
        sequence.add(token, now)
        if self._model.is_end(token):
            self._end(sequence, "stop", NewText(), now)
            return False
        gain = sequence.text.feed(self._model.piece(token))
        if gain.stopped or sequence.is_full:
            self._end(sequence, "stop" if gain.stopped else "length", gain, now)
            return False
        sequence.held += gain
        return True

    def _end(self, sequence: Sequence, reason: str, gain: NewText, now: float) -> None:
        self.scheduler.finish(sequence)
        self._close(sequence, reason, gain, now)

    def _close(self, sequence: Sequence, reason: str, gain: NewText, now: float) -> None:
        """Send the final message of a request that holds no slot. A stop string in the held-back text still counts."""
        rest = sequence.text.end()
        if rest.stopped and reason == "length":
            reason = "stop"
        sequence.held += gain + rest
        self._tell(sequence, now)
        logprobs = self._model.close(sequence.id)
        queue_ms, prefill_ms, decode_ms = sequence.timings(now)
        self._events.append(
            Finished(
                id=sequence.id,
                reason=reason,
                prompt_tokens=sequence.prompt_tokens,
                cached_tokens=sequence.cached,
                completion_tokens=sequence.completion_tokens,
                drafted=sequence.drafted if sequence.drafts else None,
                accepted=sequence.accepted if sequence.drafts else None,
                queue_ms=queue_ms,
                prefill_ms=prefill_ms,
                decode_ms=decode_ms,
                batched=sequence.batched,
                logprobs=logprobs,
            )
        )

    def _fail(self, sequence: Sequence, refusal: Refusal) -> None:
        """End a request with an error, at any point."""
        if sequence.id in self.scheduler.running:
            self.scheduler.finish(sequence)
        with suppress(KeyError):
            self._model.close(sequence.id)
        self._tell(sequence, time.monotonic())
        self._refused(sequence.id, refusal)

    def _refused(self, id: int, refusal: Refusal) -> None:
        self._events.append(Refused(id, refusal.code, refusal.message, refusal.hint))

    def _show(self, chunks: list[Chunk]) -> None:
        """Send text held back for the next token, if the next step brings that sequence no token or computes a prompt."""
        soon = {chunk.sequence.id for chunk in chunks} if all(chunk.count == 1 for chunk in chunks) else set()
        for id, sequence in list(self._untold.items()):
            if sequence.every_s == SHOW_S and id not in soon:
                self._tell(sequence, time.monotonic())

    def _tell(self, sequence: Sequence, now: float) -> None:
        """Report the text that the sequence gained since its last piece."""
        self._untold.pop(sequence.id, None)
        held, sequence.held = sequence.held, NewText()
        if held.text or held.reasoning:
            self._events.append(Piece(sequence.id, held.text, held.reasoning))
            sequence.told = now

    def _report(self) -> None:
        """Send pending messages, and periodically the speed."""
        busy, waiting = len(self.scheduler.running), len(self.scheduler.waiting) + len(self._openings)
        now = time.monotonic()
        if not self._events and self._told == (busy, waiting) and now - self._told_at < TELL_S:
            return
        if not busy:
            self._rate.clear()
        self._send(Step(events=self._events, busy=busy, waiting=waiting, tokens_per_second=self._rate.per_second()))
        self._events, self._told, self._told_at = [], (busy, waiting), now
