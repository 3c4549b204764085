"""The waiting requests: by priority, and within a priority by deficit round-robin over users.

It knows priority, user and cost in tokens, neither slots nor what is computed. (M. Shreedhar, G. Varghese: Efficient Fair
Queueing using Deficit Round Robin, 1995.)
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from llmctld.engine.streams.sequence import Sequence

LOOK_AHEAD = 32
"""Requests per user that are checked for readiness, which compares prompts."""
QUANTUM = 64
"""Tokens that each user gains per round. Small, so that a new user with a short question is served almost at once."""
PRIORITIES = ("high", "normal", "batch")


class PriorityQueue:
    """The waiting requests of one priority: a queue per user, and the users in a ring."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Sequence]] = {}
        self._deficits: dict[str, int] = {}

    def put(self, sequence: Sequence, first: bool) -> None:
        queue = self._queues.setdefault(sequence.user, deque())
        self._deficits.setdefault(sequence.user, 0)
        (queue.appendleft if first else queue.append)(sequence)

    def choose(self, ready: Callable[[Sequence], bool]) -> Sequence | None:
        """The next ready request. Changes nothing; `take` does."""
        heads = self._heads(ready)
        if not heads:
            return None
        rounds = min(self._rounds(head) for head in heads)
        return next(head for head in heads if self._rounds(head) <= rounds)

    def take(self, sequence: Sequence, ready: Callable[[Sequence], bool]) -> None:
        """Serve a request: every user with a ready request gains the rounds that passed, and its own user pays."""
        rounds = self._rounds(sequence)
        for head in self._heads(ready):
            self._deficits[head.user] += rounds * QUANTUM
        self._deficits[sequence.user] -= sequence.cost
        self.remove(sequence)
        if sequence.user in self._queues:  # to the end of the ring: on a tie others come first
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
    """All waiting requests: a mapping of ids, with `choose` and `take` for the next one."""

    def __init__(self) -> None:
        self._lines = [PriorityQueue() for _ in PRIORITIES]
        self._all: dict[int, Sequence] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[int]:
        return iter(self._all)

    def __contains__(self, id: int) -> bool:
        return id in self._all

    @property
    def most_urgent(self) -> int | None:
        """The highest priority with a waiting request."""
        return min((sequence.priority for sequence in self._all.values()), default=None)

    def put(self, sequence: Sequence, first: bool = False) -> None:
        """`first`: before the others of its user, for a preempted request."""
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

    def has_run(self, id: int) -> bool:
        """Whether this request has run before."""
        return self._all[id].has_run

    def remove(self, id: int) -> Sequence:
        """Remove a request without serving it. KeyError if it does not wait."""
        sequence = self._all.pop(id)
        self._lines[sequence.priority].remove(sequence)
        return sequence
