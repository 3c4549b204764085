"""Where a sequence's state is kept on the way, for models of which some layers look back a window only.

Such a layer forgets: a stream can be cut back by a few hundred tokens and not by more, and a saved state to itself alone. So
what another request may want to begin with is saved while it is there. It knows counts of tokens and what they cost, and
neither streams nor the library.
"""

from typing import NamedTuple

from llmctld.engine.cost.pace import Pace
from llmctld.engine.streams.placement import worth_keeping
from llmctld.engine.streams.sequence import Sequence

TAIL = 8
"""A prompt's end is where it is to go on as an answer, in the template's words: the next turn may have others there."""
APART = 64
"""Two marks that are nearer are one."""


class Window(NamedTuple):
    """`tokens`: how far those layers look back; 0: there are none. `spare`: by how many a stream can be cut in any case.

    Of a longer sequence the library saves no more than its next token needs.
    """

    tokens: int = 0
    spare: int = 0

    def least(self, saved: int) -> int:
        """The fewest tokens to which a saved state of so many can be cut."""
        return saved - 1 if 0 < self.tokens < saved else 0

    def of_saved(self, common: int, saved: int) -> int:
        """How many of `common` tokens can be taken from a saved state of so many."""
        return common if common >= self.least(saved) else 0

    def begun(self, sequence: Sequence, common: int, pace: Pace) -> None:
        """Marks the beginning that it has in common with others, where that is gone from them; and the end of its prompt,
        where the answer may be too long to come back to it.
        """
        if not self.tokens or sequence.alone:
            return
        end = sequence.prompt_tokens - TAIL
        marks = [common]
        if sequence.prompt_tokens + sequence.max_tokens > self.tokens and sequence.left + TAIL > self.spare:
            marks.append(end)
        for mark in marks:
            if sequence.position < mark <= end and worth_keeping(mark - sequence.position, pace):
                self.mark(sequence, mark)

    def mark(self, sequence: Sequence, place: int) -> None:
        if self.tokens and all(abs(place - mark) >= APART for mark in sequence.marks):
            sequence.marks.add(place)


NO_WINDOW = Window()


def until_mark(sequence: Sequence) -> int:
    """Tokens that may be computed before the next mark, all of them if there is none."""
    return min(
        (mark - sequence.position for mark in sequence.marks if mark > sequence.position), default=sequence.pending
    )
