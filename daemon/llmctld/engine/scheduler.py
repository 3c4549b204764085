"""Which tokens of which sequences go into the next step: continuous batching with prompts computed in chunks.

It knows token counts and streams; it refuses to know text, samplers and the library that computes.
"""

from llmctld.engine.sequence import Chunk, Sequence
from llmctld.engine.slots import Slots

PREFILL_WHILE_DECODING = 64
"""Prompt tokens in a step in which others generate. A whole batch of 512 would hold their next token back for many of
their own steps; 64 cost about as much as a few, and share the weights that the step reads anyway."""


class Scheduler:
    """Requests wait in order of arrival, run in the lowest free streams, and join or leave between any two steps."""

    def __init__(self, slots: int, batch: int) -> None:
        self._slots = Slots(slots)
        self.batch = max(batch, slots)
        self.waiting: dict[int, Sequence] = {}
        self.running: dict[int, Sequence] = {}

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running

    def expect(self, id: int) -> None:
        """ValueError when a request of this id is here already."""
        if id in self.waiting or id in self.running:
            raise ValueError(f"request {id} is already here")

    def submit(self, sequence: Sequence) -> None:
        """Queue a request."""
        self.expect(sequence.id)
        self.waiting[sequence.id] = sequence

    def admit(self) -> list[Sequence]:
        """Give free streams to those who wait longest; returns the newly running."""
        admitted = []
        for sequence in list(self.waiting.values()):
            stream = self._slots.take(sequence.id)
            if stream is None:
                break
            sequence.stream = stream
            del self.waiting[sequence.id]
            self.running[sequence.id] = sequence
            admitted.append(sequence)
        return admitted

    def pack(self) -> list[tuple[int, int]]:
        """Moves (from stream, to stream) that close gaps, so that the running ones lie in streams 0..k-1.

        llama.cpp splits a batch at every gap and reads all weights again for each part, in every step; a copy reads and
        writes one stream, once. While others wait there is nothing to do: the next admitted request fills the gap.
        """
        if self.waiting:
            return []
        moves = []
        for sequence in sorted(self.running.values(), key=_stream, reverse=True):
            source = _stream(sequence)
            if source < len(self.running):
                break
            sequence.stream = self._slots.move(source)
            moves.append((source, sequence.stream))
        return moves

    def plan(self) -> list[Chunk]:
        """The next step, in ascending stream order: each generating sequence's one token, then prompts by arrival."""
        decoding = [sequence for sequence in self.running.values() if sequence.is_decoding]
        room = self.batch - len(decoding)
        if decoding:
            room = min(room, PREFILL_WHILE_DECODING)
        chunks = [_chunk(sequence, 1) for sequence in decoding]
        for sequence in self.running.values():
            if sequence.is_decoding:
                continue
            count = min(sequence.pending, room)
            if count or not sequence.pending:
                chunks.append(_chunk(sequence, count))
                room -= count
        return sorted(chunks, key=lambda chunk: chunk.stream)

    def advance(self, chunk: Chunk) -> None:
        """The chunk is computed."""
        chunk.sequence.position = chunk.start + chunk.count

    def finish(self, sequence: Sequence) -> None:
        """A running sequence has ended: its stream is free for the next step."""
        del self.running[sequence.id]
        self._slots.give(_stream(sequence))

    def cancel(self, id: int) -> Sequence | None:
        """Take a request out, waiting or running; None when it is not here (any more)."""
        if id in self.waiting:
            return self.waiting.pop(id)
        sequence = self.running.get(id)
        if sequence is not None:
            self.finish(sequence)
        return sequence

    def check(self) -> None:
        """Prove the invariants; RuntimeError names the one that does not hold."""
        self._slots.check({_stream(sequence): sequence.id for sequence in self.running.values()})
        for sequence in self.running.values():
            if not 0 <= sequence.position <= len(sequence.tokens):
                raise RuntimeError(f"request {sequence.id}: position {sequence.position} of {len(sequence.tokens)}")
            if sequence.is_decoding and sequence.pending != 1:
                raise RuntimeError(f"request {sequence.id} generates with {sequence.pending} tokens pending, not 1")


def _chunk(sequence: Sequence, count: int) -> Chunk:
    return Chunk(sequence, _stream(sequence), sequence.position, count)


def _stream(sequence: Sequence) -> int:
    if sequence.stream is None:
        raise RuntimeError(f"request {sequence.id} runs without a stream")
    return sequence.stream
