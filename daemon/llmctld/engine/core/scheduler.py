"""Continuous batching: which requests run, in which streams, and which of their tokens the next step computes.

It knows token counts, streams and priorities, not text, samplers or the library. Changes to the KV memory are returned as a list
of actions, in order.
"""

from collections.abc import Callable

import numpy as np

from llmctld.engine.core.batcher import Batcher, stream_of
from llmctld.engine.core.draft_model import DraftModel
from llmctld.engine.core.queue import Queue
from llmctld.engine.cost.pace import Pace
from llmctld.engine.messages import Adapter
from llmctld.engine.streams import placement as place
from llmctld.engine.streams.actions import Action, Copy, Cut, Restore, Save
from llmctld.engine.streams.checkpoints import NO_WINDOW, TAIL, Window
from llmctld.engine.streams.placement import Source
from llmctld.engine.streams.radix import Tokens, common
from llmctld.engine.streams.saved import SavedStates
from llmctld.engine.streams.sequence import BATCH, Chunk, Sequence
from llmctld.engine.streams.streams import Streams

WAIT_TOKENS = 32
"""A request waits for a prefix that another is computing if that prefix is at least this many tokens longer than any that
exists."""
SAVED_BYTES_PER_MS = 1e6
"""Speed of reading, verifying and loading a saved state."""


class Scheduler:
    """`streams`: number of streams, at least `slots` (requests that run together).

    `reuses`: whether streams can be copied and cut; if not, everything is computed from the start. `mixes`: whether one step with
    prompts and generating sequences costs less than separate ones. `window`: limits on cutting, and `least`: fewest tokens to
    which a stream can be cut now.
    """

    def __init__(
        self, slots: int, batch: int, streams: int = 0, reuses: bool = True, pace: Pace | None = None,
        saved: SavedStates | None = None, mixes: bool = False, draft_model: DraftModel | None = None,
        window: Window = NO_WINDOW, least: Callable[[int], int] = lambda _: 0,
    ) -> None:  # fmt: skip
        self.slots, self.batch = slots, max(batch, slots)
        self.streams = Streams(max(streams, slots))
        self.pace = Pace() if pace is None else pace
        self.saved = SavedStates(None, 0, 0) if saved is None else saved
        self.batcher = Batcher(self.batch, self.pace, mixes, draft_model)
        self.waiting = Queue()
        self.running: dict[int, Sequence] = {}
        self._reuses = reuses
        self._window, self._least = window, least

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def expect(self, id: int) -> None:
        """Raises ValueError if a request with this id exists."""
        if id in self.waiting or id in self.running:
            raise ValueError(f"request {id} is already here")

    def submit(self, sequence: Sequence) -> None:
        """Queue a request."""
        self.expect(sequence.id)
        self.waiting.put(sequence)

    def move(self, id: int, user: str, priority: int) -> None:
        """Give a request to another user, with another priority. A waiting one goes behind that user's others."""
        if id in self.waiting:
            sequence = self.waiting.remove(id)
            sequence.user, sequence.priority = user, priority
            self.waiting.put(sequence, first=sequence.has_run)
        elif id in self.running:
            self.running[id].user, self.running[id].priority = user, priority

    # ---- who runs ---------------------------------------------------------------------------------------------------

    def admit(self) -> list[Action]:
        """Start the next requests while there are slots; then close the gaps between streams.

        With a sliding window one at a time: only the memory knows how far it can be cut after that.
        """
        actions: list[Action] = []
        if not self.waiting and not self.streams.gaps():
            return actions
        self._preempt()
        while len(self.running) < self.slots and (sequence := self.waiting.choose(self._ready)) is not None:
            if sequence.alone and self.running:
                break  # no other request starts before it has run
            self.waiting.take(sequence, self._ready)
            actions += self._begin(sequence)
            if self._window.tokens:
                return actions
        return actions + self._pack()

    def _preempt(self) -> None:
        """Preempt batch work for more urgent requests; its computed tokens stay in the stream while possible."""
        if len(self.running) < self.slots or self.waiting.most_urgent in (None, BATCH):
            return
        batch = [sequence for sequence in self.running.values() if sequence.priority == BATCH and not sequence.alone]
        next_ = self.waiting.choose(self._ready) if batch else None
        if next_ is not None and next_.priority < BATCH:
            last = batch[-1]
            self.finish(last)
            self.waiting.put(last, first=True)

    def _ready(self, sequence: Sequence) -> bool:
        """Whether the request may start: not while an exclusive request runs, and not while another computes a long part of its
        prompt."""
        if any(running.alone for running in self.running.values()):
            return False
        if sequence.alone or not self._reuses:
            return True
        tokens = np.array(sequence.tokens, np.int32)
        best = promised = 0
        promising: Sequence | None = None
        for owner, length in self._matches(tokens, sequence.adapters).items():
            if isinstance(owner, Sequence):
                said = min(length, owner.prompt_tokens, len(tokens) - 1)
                if max(promised, owner.position) < said:
                    promised, promising = said, owner
                length = min(length, owner.position)
            if length >= self._least(stream_of(owner) if isinstance(owner, Sequence) else owner):
                best = max(best, length)
        if promising is None or promised - best < WAIT_TOKENS:
            return True
        self._window.mark(promising, promised)
        return False

    def _begin(self, sequence: Sequence) -> list[Action]:
        """Assign a stream, and return what must happen to the memory before the first step."""
        chosen, common = self._place(sequence)
        target, source = chosen.target, chosen.source
        actions: list[Action] = []
        if chosen.copy_target is not None:
            actions += self._put_aside(target, chosen.copy_target)
        else:
            actions += self._rescue(target, source.keep if source.stream == target else 0)
        if source.entry is not None:
            begins = np.array(sequence.tokens[: source.keep], np.int32)
            actions.append(Restore(target, source.entry, begins, sequence))
        elif source.stream is not None and source.stream != target:
            actions.append(Copy(source.stream, target))
        actions.append(Cut(target, source.keep, sequence))
        self.streams.take(target, sequence.id, np.array(sequence.tokens, np.int32), sequence.adapters)
        self.running[sequence.id] = sequence
        sequence.stream, sequence.position = target, source.keep
        if not sequence.has_run:
            sequence.cached = source.keep
        self._window.start_sequence(sequence, common, self.pace)
        return actions

    def _place(self, sequence: Sequence) -> tuple[place.Placement, int]:
        """Returns where the request runs, and the length of the longest prefix shared with any stream, even one that cannot be
        cut that far."""
        if not self._reuses:
            return place.Placement(self.streams.free[0], Source()), 0
        tokens = np.array(sequence.tokens, np.int32)
        sources = [] if sequence.alone else self._sources(tokens, sequence.adapters)
        common = max((source.keep for source in sources), default=0)
        there = [source for source in sources if source.keep >= self._least_of(source)]
        return place.choose(self.streams, len(tokens), there, self.pace), common

    def _least_of(self, source: Source) -> int:
        """Fewest tokens that can be taken from this source."""
        if source.entry is not None:
            return self.saved.least(source.entry)
        return 0 if source.stream is None else self._least(source.stream)

    def _sources(self, tokens: Tokens, adapters: tuple[Adapter, ...]) -> list[Source]:
        """Computed prefixes of `tokens`, at most all but the last: the model must compute at least one."""
        most = len(tokens) - 1
        sources = []
        for stream, length in self.streams.match(tokens, adapters).items():
            owner = self._owner(stream)
            if owner is not None:
                length = self._agreement(owner, tokens, length)
            sources.append(Source(min(length, most), stream, cost_ms=self.pace.copy_ms))
        for entry, length in () if adapters else self.saved.match(tokens).items():
            cost = self.pace.copy_ms + self.saved.size(entry) / SAVED_BYTES_PER_MS
            sources.append(Source(min(length, most), entry=entry, cost_ms=cost))
        return [source for source in sources if source.keep]

    def _matches(self, tokens: Tokens, adapters: tuple[Adapter, ...]) -> "dict[Sequence | int, int]":
        """Running sequence or free stream -> length of the common prefix, computed or to be computed."""
        found = self.streams.match(tokens, adapters)
        return {self._owner(stream) or stream: length for stream, length in found.items()}

    def _agreement(self, owner: Sequence, tokens: Tokens, length: int) -> int:
        """Common prefix with a running sequence. The tree holds its prompt; it has grown since, and may not be computed so
        far."""
        if length == len(self.streams.held(stream_of(owner))):
            length += common(tokens[length:], np.array(owner.tokens[length:], np.int32))
        return min(length, owner.position)

    def _owner(self, stream: int) -> Sequence | None:
        return next((sequence for sequence in self.running.values() if sequence.stream == stream), None)

    def _rescue(self, stream: int, keep: int = 0, lost: int | None = None) -> list[Save]:
        """Save what is about to be overwritten, if worth it. `lost`: number of tokens; default: those that only this stream
        holds."""
        held = self.streams.held(stream)
        if not self._reuses or self.streams.adapters(stream):
            return []  # saved states are only kept for the model without adapters
        lost = self.streams.unshared_tokens(stream, keep) if lost is None else lost
        if not place.worth_keeping(lost, self.pace) or self.saved.covers(held):
            return []
        lasting = lost >= place.LASTING_TOKENS
        return [Save(stream, held, lasting), *self._rescue_prompt(stream, keep, lasting)]

    def _rescue_prompt(self, stream: int, keep: int, lasting: bool) -> list[Save]:
        """Also save the state at the end of the prompt: a state that cannot be cut is useless for the same prompt again."""
        prompt, held = self.streams.prompt(stream) - TAIL, self.streams.held(stream)
        if max(keep, self._least(stream), place.SAVE_TOKENS) <= prompt < len(held) and self._window.tokens < len(held):
            return [Save(stream, held[:prompt], lasting, cut=True)] if self._window.tokens else []
        return []

    def _pack(self) -> list[Action]:
        """Move sequences from the end of the window into gaps: one copy, instead of a split of every step."""
        actions: list[Action] = []
        while self._reuses and (gaps := self.streams.gaps()):
            gap, last = gaps[0], self.streams.owned[-1]
            mover = self._owner(last)
            assert mover is not None
            other = place.copy_target(self.streams, gap, self.pace)
            actions += self._rescue(gap) if other is None else self._put_aside(gap, other)
            actions.append(Copy(last, gap))
            self.streams.move(last, gap, mover.computed)
            mover.stream = gap
        return actions

    def _put_aside(self, stream: int, other: int) -> list[Action]:
        actions: list[Action] = [*self._rescue(other), Copy(stream, other)]
        self.streams.copy(stream, other)
        return actions

    def plan(self) -> list[Chunk]:
        """The chunks of the next step, in ascending stream order."""
        return self.batcher.plan(self.running.values())

    def advance(self, chunk: Chunk, accepted: int = 0) -> None:
        """Record that the chunk is computed and `accepted` tokens of its draft were right."""
        chunk.sequence.position = chunk.start + chunk.count + accepted

    def marked(self) -> list[Action]:
        """Save actions for sequences that have just reached a checkpoint."""
        actions: list[Action] = []
        for sequence in self.running.values():
            if sequence.position in sequence.marks:
                sequence.marks.discard(sequence.position)
                actions += self._keep(sequence)
        return actions

    def _keep(self, sequence: Sequence) -> list[Action]:
        computed = sequence.computed
        if sequence.adapters or not place.worth_keeping(len(computed), self.pace) or self.saved.covers(computed):
            return []
        return [Save(stream_of(sequence), computed, len(computed) >= place.LASTING_TOKENS)]

    def forget(self, sequence: Sequence) -> None:
        """The reused prefix is not there: compute the sequence from the first token."""
        sequence.position = sequence.cached = 0

    def finish(self, sequence: Sequence) -> None:
        """End or preempt a running sequence: its stream becomes free and keeps what is computed."""
        del self.running[sequence.id]
        computed = sequence.computed if self._reuses else sequence.computed[:0]
        self.streams.give(stream_of(sequence), computed, min(sequence.prompt_tokens, len(computed)))
        sequence.stream = None

    def cancel(self, id: int) -> Sequence | None:
        """Remove a request, waiting or running; None if it is not here."""
        if id in self.waiting:
            return self.waiting.remove(id)
        sequence = self.running.get(id)
        if sequence is not None:
            self.finish(sequence)
        return sequence

    def recall(self) -> list[int]:
        """Remove waiting requests that have never run; returns their ids."""
        unbegun = [id for id in self.waiting if not self.waiting.has_run(id)]
        for id in unbegun:
            self.waiting.remove(id)
        return unbegun

    def final_saves(self) -> list[Action]:
        """Save actions at the end: everything worth it, most recently used first, each prefix once."""
        actions: list[Action] = []
        kept: list[Tokens] = []
        for stream in sorted(self.streams.free, key=self.streams.age):
            held = self.streams.held(stream)
            there = (self._window.of_saved(common(held, tokens), len(tokens)) for tokens in kept)
            saves = self._rescue(stream, lost=len(held) - max(there, default=0))
            kept += [save.tokens for save in saves]
            actions += saves
        return actions

    def check(self) -> None:
        """Verify the invariants; RuntimeError names the one that fails."""
        self.streams.check({stream_of(sequence): sequence.id for sequence in self.running.values()})
        self.saved.check()
        self.batcher.draft_policy.check()
        if len(self.running) > self.slots:
            raise RuntimeError(f"{len(self.running)} requests run in {self.slots} slots")
        for sequence in self.running.values():
            if not 0 <= sequence.position <= len(sequence.tokens):
                raise RuntimeError(f"request {sequence.id}: position {sequence.position} of {len(sequence.tokens)}")
