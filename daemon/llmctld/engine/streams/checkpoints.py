"""Checkpoints of a sequence's state while it is computed, for models with sliding-window layers.

Such layers drop old tokens, so a stream can be cut back only by a few hundred tokens, and a saved state not at all. A prefix that
another request may reuse must therefore be saved while it is there. This module knows token counts and costs, neither streams nor
the library.
"""

from typing import NamedTuple

from llmctld.engine.cost.pace import Pace
from llmctld.engine.streams.placement import worth_keeping
from llmctld.engine.streams.sequence import Sequence

TAIL = 8
"""Tokens at the end of a prompt that the template adds to start the answer; the next turn may have others there."""
APART = 64
"""Minimum distance of two checkpoints, in tokens."""


class Window(NamedTuple):
    """`tokens`: size of the sliding window; 0: none. `spare`: by how many tokens a stream can always be cut.

    Of a longer sequence, the library saves only what the next token needs.
    """

    tokens: int = 0
    spare: int = 0

    def least(self, saved: int) -> int:
        """Fewest tokens to which a saved state of `saved` tokens can be cut."""
        return saved - 1 if 0 < self.tokens < saved else 0

    def of_saved(self, common: int, saved: int) -> int:
        """How many of `common` tokens can be taken from a saved state of `saved` tokens."""
        return common if common >= self.least(saved) else 0

    def start_sequence(self, sequence: Sequence, common: int, pace: Pace) -> None:
        """Set checkpoints for a new sequence: at the end of the shared prefix, if no other stream holds it any more; and at the
        end of the prompt, if the answer may grow beyond what can be cut off again."""
        if not self.tokens or sequence.alone:
            return
        end = sequence.prompt_tokens - TAIL
        marks = [common]
        if sequence.prompt_tokens + sequence.max_tokens > self.tokens and sequence.tokens_left + TAIL > self.spare:
            marks.append(end)
        for mark in marks:
            if sequence.position < mark <= end and worth_keeping(mark - sequence.position, pace):
                self.mark(sequence, mark)

    def mark(self, sequence: Sequence, place: int) -> None:
        if self.tokens and all(abs(place - mark) >= APART for mark in sequence.marks):
            sequence.marks.add(place)


NO_WINDOW = Window()


def until_mark(sequence: Sequence) -> int:
    """Tokens to compute before the next checkpoint; all pending ones if there is none."""
    return min(
        (mark - sequence.position for mark in sequence.marks if mark > sequence.position), default=sequence.pending
    )
