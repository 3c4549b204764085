"""Who is next: interactive requests before batch work, and users in deficit round-robin within a priority.

It knows sequences by priority, user and cost in tokens; it refuses to know slots and what is computed.
(M. Shreedhar, G. Varghese: Efficient Fair Queueing using Deficit Round Robin, 1995.)
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from llmctld.engine.streams.sequence import Sequence

LOOK_AHEAD = 32
"""Of one user's queue, how many are asked whether they are ready: that compares prompts."""
QUANTUM = 64
"""Tokens that a user gains in each round. Small, so that a newcomer with a short question is served almost at once."""
PRIORITIES = ("high", "normal", "batch")


class Line:
    """The waiting requests of one priority: a queue for each user, and the users in a ring."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Sequence]] = {}
        self._deficits: dict[str, int] = {}

    def put(self, sequence: Sequence, first: bool) -> None:
        queue = self._queues.setdefault(sequence.user, deque())
        self._deficits.setdefault(sequence.user, 0)
        (queue.appendleft if first else queue.append)(sequence)

    def choose(self, ready: Callable[[Sequence], bool]) -> Sequence | None:
        """The next one that is ready; nothing changes before it is taken."""
        heads = self._heads(ready)
        if not heads:
            return None
        rounds = min(self._rounds(head) for head in heads)
        return next(head for head in heads if self._rounds(head) <= rounds)

    def take(self, sequence: Sequence, ready: Callable[[Sequence], bool]) -> None:
        """It is served: every user who could have been gains the rounds that this took, and its own pays."""
        rounds = self._rounds(sequence)
        for head in self._heads(ready):
            self._deficits[head.user] += rounds * QUANTUM
        self._deficits[sequence.user] -= sequence.cost
        self.remove(sequence)
        if sequence.user in self._queues:  # to the end of the ring: others come first when it is a draw
            self._queues[sequence.user] = self._queues.pop(sequence.user)

    def remove(self, sequence: Sequence) -> None:
        queue = self._queues[sequence.user]
        queue.remove(sequence)
        if not queue:
            del self._queues[sequence.user], self._deficits[sequence.user]

    def _heads(self, ready: Callable[[Sequence], bool]) -> list[Sequence]:
        found = (next(filter(ready, islice(queue, LOOK_AHEAD)), None) for queue in self._queues.values())
        return [sequence for sequence in found if sequence is not None]

    def _rounds(self, sequence: Sequence) -> int:
        return max(0, -(-(sequence.cost - self._deficits[sequence.user]) // QUANTUM))


class Queue:
    """All that wait. A mapping of ids to look into, and `choose` and `take` for the next one."""

    def __init__(self) -> None:
        self._lines = [Line() for _ in PRIORITIES]
        self._all: dict[int, Sequence] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[int]:
        return iter(self._all)

    def __contains__(self, id: int) -> bool:
        return id in self._all

    @property
    def most_urgent(self) -> int | None:
        """The first priority in which somebody waits."""
        return min((sequence.priority for sequence in self._all.values()), default=None)

    def put(self, sequence: Sequence, first: bool = False) -> None:
        """`first`: before the others of its user, for one that had begun already."""
        self._all[sequence.id] = sequence
        self._lines[sequence.priority].put(sequence, first)

    def choose(self, ready: Callable[[Sequence], bool]) -> Sequence | None:
        for line in self._lines:
            sequence = line.choose(ready)
            if sequence is not None:
                return sequence
        return None

    def take(self, sequence: Sequence, ready: Callable[[Sequence], bool]) -> None:
        del self._all[sequence.id]
        self._lines[sequence.priority].take(sequence, ready)

    def begun(self, id: int) -> bool:
        """Whether this one has run before."""
        return self._all[id].begun

    def remove(self, id: int) -> Sequence:
        """Out of the queue unserved. KeyError when it does not wait."""
        sequence = self._all.pop(id)
        self._lines[sequence.priority].remove(sequence)
        return sequence
