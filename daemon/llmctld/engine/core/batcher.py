"""Which tokens of the running sequences the next step computes: a part of one prompt, or a token of each that generates.

It knows token counts, drafts and times, not who runs or in which stream.
"""

from collections.abc import Iterable

from llmctld.engine.core.draft_model import DraftModel
from llmctld.engine.core.draft_policy import DraftPolicy
from llmctld.engine.cost.pace import Pace
from llmctld.engine.drafts.speculation import Speculation
from llmctld.engine.streams.checkpoints import until_mark
from llmctld.engine.streams.sequence import Chunk, Sequence


class Batcher:
    """`batch`: most tokens per step. `mixes`: whether one step with prompts and generating sequences costs less than two."""

    def __init__(self, batch: int, pace: Pace, mixes: bool, draft_model: DraftModel | None) -> None:
        self._batch, self._pace, self._mixes = batch, pace, mixes
        self._shortest, self._turn = False, 0
        self.speculation = Speculation()
        self.draft_policy = DraftPolicy(draft_model)

    def plan(self, running: Iterable[Sequence]) -> list[Chunk]:
        """The chunks of the next step in ascending stream order: a part of one prompt, or the next token of each generating
        sequence.

        They alternate, since the library computes a batch in parts of equal length: together they cost more than separately.
        """
        together = self._together(list(running))
        single = [sequence for sequence in together if sequence.pending < 2]
        prompts = [sequence for sequence in together if sequence.pending > 1]
        chunks = self._mixed(together) if self._mixes else self._prompt(prompts, bool(single)) or self._single(single)
        return sorted(chunks, key=lambda chunk: chunk.stream)

    def _mixed(self, together: list[Sequence]) -> list[Chunk]:
        room = self._batch - len(together)
        chunks = []
        for sequence in together:
            count = min(sequence.pending, 1 + room)
            room -= count - 1
            sequence.batched |= len(together) > 1
            chunks.append(_chunk(sequence, count))
        return chunks

    def _prompt(self, prompts: list[Sequence], waited_for: bool) -> list[Chunk]:
        """A part of one prompt; nothing if the generating sequences have paused long enough."""
        if not prompts:
            return []
        prompt = min(prompts, key=lambda prompt: prompt.pending) if self._shortest else prompts[0]
        count = min(until_mark(prompt), prompt.pending, self._batch, self._pace.chunk if waited_for else self._batch)
        if waited_for and not self._pace.has_time_for(count):
            return []
        self._shortest = not self._shortest  # alternate, so that neither long nor short prompts wait for all others
        prompt.batched |= waited_for or prompt.cached > 0
        return [_chunk(prompt, count)]

    def _single(self, single: list[Sequence]) -> list[Chunk]:
        """One token per sequence, and its drafted tokens."""
        if not single:
            return []
        streams = {stream_of(sequence): sequence for sequence in single}
        drafts = self.draft_policy.drafts(streams, self._batch - len(single), self.speculation)
        for sequence in single:
            sequence.batched |= len(single) > 1 or sequence.cached > 0 or bool(drafts.get(stream_of(sequence)))
        return [_chunk(sequence, sequence.pending, drafts.get(stream_of(sequence))) for sequence in single]

    def _together(self, running: list[Sequence]) -> list[Sequence]:
        """Sequences with the same adapters; each set of adapters in turn."""
        if len(running) < 2:
            return running
        sets = list(dict.fromkeys(sequence.adapters for sequence in running))
        if len(sets) < 2:
            return running
        self._turn += 1
        return [sequence for sequence in running if sequence.adapters == sets[self._turn % len(sets)]]


def _chunk(sequence: Sequence, count: int, draft: list[int] | None = None) -> Chunk:
    return Chunk(sequence, stream_of(sequence), sequence.position, count, draft or [])


def stream_of(sequence: Sequence) -> int:
    if sequence.stream is None:
        raise RuntimeError(f"request {sequence.id} runs without a stream")
    return sequence.stream
